"""The served tables: their keys, their public columns, and when a row of each was known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel

from backend.api import rows, schemas
from domain.market import Timeframe

Filters = dict[str, list[Any]]  # column → accepted values


def candle_known(row: str) -> str:
    """SQL for the time from which a version of a candle could be used."""
    return f"CASE WHEN {row}.source = 'backfill' THEN {row}.close_time ELSE {row}.known_at END"


_STEPS: Final = " ".join(f"WHEN '{one.value}' THEN interval '{one.ms} ms'" for one in Timeframe)
CANDLE_RANK: Final = (
    "t.confirmed DESC, t.event_time DESC NULLS LAST, t.trades DESC NULLS LAST,"
    " t.volume DESC, t.row_hash DESC"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One kind of row that is listed by time.

    Attributes:
        table: with the newest revision, or all of them.
        history: what to read when an earlier point in time is asked for.
        series: columns that name one series in the order of the primary key.
        time: the key's time column.
        close: the column that says when what a row is about was over; `time` by default.
        key: columns that tell rows of one time apart.
        known: SQL for the time from which a row could be used.
        known_before: SQL that is true where another version of a row was known at `{at}`.
        versions: tables that have all versions of a row between them; `table` by default.
        changed: SQL for the last time at which a version told something new; `known` by default.
        newest: SQL order that puts the newest revision of a row first.
        columns: SQL list of public columns, in served order.
        joins: SQL joins that `columns` needs beside `instruments i`.
        described: the model of a JSON row.
        spell: database row → JSON row, given the point in time or None.
    """

    table: str
    history: str
    series: tuple[str, ...]
    time: str
    key: tuple[str, ...]
    known: str
    newest: str
    columns: str
    joins: str = ""
    close: str = ""
    known_before: str = "false"
    versions: tuple[str, ...] = ()
    changed: str = ""
    described: type[BaseModel]
    spell: Callable[[rows.Row, datetime | None], dict[str, Any]]

    @property
    def same_series(self) -> str:
        """SQL: row `t` belongs to series `s`."""
        return " AND ".join(f"t.{name} = s.{name}" for name in self.series)

    @property
    def closes(self) -> str:
        return f"t.{self.close or self.time}"

    def known_by(self, at: str) -> str:
        """SQL: some version of row `t` was known at `at`."""
        return f"({self.known} <= {at} OR {self.known_before.format(at=at)})"


CANDLES: Final = Shelf(
    table="candles",
    history="candle_history",
    series=("instrument_id", "timeframe"),
    time="open_time",
    close="close_time",
    key=("instrument_id", "timeframe"),
    known=candle_known("t"),
    known_before="EXISTS (SELECT FROM candle_revisions r WHERE (r.instrument_id, r.timeframe,"
    " r.open_time) = (t.instrument_id, t.timeframe, t.open_time)"
    f" AND {candle_known('r')} <= {{at}})",
    versions=("candles", "candle_revisions"),
    newest=CANDLE_RANK,
    columns="i.exchange, i.symbol, t.timeframe, t.open_time, t.close_time, t.open, t.high, t.low,"
    " t.close, t.volume, t.revision, t.source, t.known_at",
    described=schemas.CandleRow,
    spell=lambda row, _at: rows.plain(row),
)

FEATURES: Final = Shelf(
    table="ml_features_ohlcv",
    history="ml_features_ohlcv",
    series=("instrument_id", "timeframe", "feature_set"),
    time="as_of",
    key=("instrument_id", "timeframe", "feature_set"),
    known="t.known_at",
    newest="t.revision DESC",
    columns="i.exchange, i.symbol, t.timeframe, t.feature_set, t.as_of, t.revision, t.known_at,"
    " t.candle_revision, t.coverage, f.columns, t.values",
    joins="JOIN feature_sets f USING (feature_set)",
    described=schemas.FeatureRow,
    spell=lambda row, _at: rows.feature(row),
)

PREDICTIONS: Final = Shelf(
    table="ml_predictions",
    history="ml_predictions",
    series=("instrument_id", "timeframe", "horizon"),
    time="as_of",
    key=("instrument_id", "timeframe", "horizon", "role", "model"),
    known="t.made_at",
    newest="t.revision DESC",
    columns="i.exchange, i.symbol, t.timeframe, t.horizon, t.as_of, t.revision, t.made_at,"
    " t.origin, t.role, t.target, t.model, t.version, t.members, t.p_down, t.p_flat, t.p_up,"
    " t.q10, t.q50, t.q90, t.volatility, t.degraded, t.dissimilarity",
    described=schemas.PredictionRow,
    spell=lambda row, _at: rows.prediction(row),
)

SIGNALS: Final = Shelf(
    table="trading_signals",
    history="trading_signals",
    series=("instrument_id", "timeframe", "horizon"),
    time="as_of",
    key=("instrument_id", "timeframe", "horizon"),
    known="t.made_at",
    newest="t.revision DESC",
    columns="i.exchange, i.symbol, t.timeframe, t.horizon, t.as_of, t.revision, t.side,"
    " t.strength, t.gate, t.size_fraction, t.entry_price, t.stop, t.take, t.expires_at, t.status,"
    " t.closed_at, t.exit_price, t.realized_return, t.model, t.version, t.expected_edge_bps,"
    " t.votes",
    described=schemas.SignalRow,
    # As `rows.signal_as_known` has it.
    changed="greatest(t.made_at, t.closed_at, CASE WHEN t.entry_price IS NOT NULL"
    f" THEN t.as_of + CASE t.timeframe {_STEPS} END END)",
    spell=rows.signal,
)
