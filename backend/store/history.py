"""The record read back in bulk: what rooms start from and what learners are given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from io import BytesIO
from itertools import groupby
from typing import Any, Final

import asyncpg
import numpy as np
import orjson
from numpy.typing import NDArray

from backend.store.columns import CandlePanel, CandleSeries, FeatureTable
from backend.store.copy import POSTGRES_EPOCH_MS, decode
from backend.store.feature_queries import EXAMPLE_FIELDS, EXAMPLES, FEATURES, ROWS_AT
from backend.store.instruments import Instruments
from backend.store.tables import ml_predictions, named, trading_signals
from domain.errors import StoreError
from domain.events import Examples, Floats, Ints, Origin, PredictionBatch, Role, Signal, Target
from domain.market import Horizon, Instrument, Timeframe, to_ms

AT_ONCE: Final = 50_000  # rows of the past in one answer

# The index: candles_pkey.
_CANDLES: Final = """
SELECT c.instrument_id, c.open_time, c.open, c.high, c.low, c.close, c.volume, c.revision
FROM unnest($1::int[]) AS wanted (instrument_id) CROSS JOIN LATERAL (
    SELECT * FROM candles WHERE instrument_id = wanted.instrument_id AND timeframe = $2
        AND open_time >= $3 AND open_time < $4
    ORDER BY open_time DESC LIMIT $5
) AS c
"""
_CANDLE_FIELDS: Final = (
    ("instrument_id", "i4"),
    ("open_ms", "i8"),
    ("open", "f8"),
    ("high", "f8"),
    ("low", "f8"),
    ("close", "f8"),
    ("volume", "f8"),
    ("revision", "i4"),
)
# The index: ml_predictions_pkey.
_PENDING: Final = f"""
SELECT {named(ml_predictions, "p")}, symbol
FROM ml_predictions AS p JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND p.timeframe = $2 AND p.horizon = $3 AND p.as_of > $4 AND p.as_of <= $5
    AND (p.as_of > $6 OR NOT EXISTS (
        SELECT FROM ml_prediction_outcomes AS o
        WHERE (o.instrument_id, o.timeframe, o.horizon, o.as_of, o.revision, o.role, o.model)
            = (p.instrument_id, p.timeframe, p.horizon, p.as_of, p.revision, p.role, p.model)
    ))
ORDER BY p.as_of, p.role, p.model, p.version, p.made_at, p.origin, p.members::text, symbol
"""  # noqa: S608 - words of ours
# The index: ml_predictions_pkey, from its end.
_NEWEST_SERVED: Final = """
SELECT instrument_id, newest.as_of FROM unnest($1::int[]) AS wanted (instrument_id)
CROSS JOIN LATERAL (
    SELECT as_of FROM ml_predictions WHERE instrument_id = wanted.instrument_id
        AND timeframe = $2 AND horizon = $3 AND role = 'champion' ORDER BY as_of DESC LIMIT 1
) AS newest
"""
# The indexes: candles_pkey, from the end of each series; stream_blocks_pkey.
_REACHED: Final = """
SELECT greatest(max(last.close_time), max(last.known_at), (
    SELECT max(published_at) FROM stream_heads JOIN stream_blocks USING (log, block)
    WHERE split_part(log, '.', 3) = $1 AND published_at < '9999-01-01Z'
)) FROM instruments CROSS JOIN unnest($2::text[]) AS wanted (timeframe) CROSS JOIN LATERAL (
    SELECT close_time, known_at FROM candles
    WHERE instrument_id = instruments.instrument_id AND timeframe = wanted.timeframe
    ORDER BY open_time DESC LIMIT 1
) AS last WHERE exchange = $1
"""
_OPEN_SIGNALS: Final = f"""
SELECT {named(trading_signals, "s")}, symbol
FROM trading_signals AS s JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND s.timeframe = $2 AND s.status IN ('pending', 'active')
ORDER BY s.as_of, symbol, s.horizon, s.revision
"""  # noqa: S608 - words of ours
_NEWEST_CLOSE: Final = """
SELECT max(newest.close_time) FROM unnest($1::int[]) AS wanted (instrument_id), LATERAL (
    SELECT close_time FROM candles
    WHERE candles.instrument_id = wanted.instrument_id AND timeframe = $2
    ORDER BY open_time DESC LIMIT 1
) AS newest
"""


class History:
    """Reads of whole columns, decoded from binary COPY without a loop over rows."""

    def __init__(self, pool: asyncpg.Pool, instruments: Instruments) -> None:
        self._pool = pool
        self._instruments = instruments

    async def candles(
        self,
        instruments: Sequence[Instrument],
        timeframe: Timeframe,
        *,
        since: datetime,
        until: datetime,
        limit: int | None = None,
    ) -> list[CandleSeries]:
        """The latest version of candles with since ≤ open time < until.

        Args:
            instruments: whose; the answer has their order.
            timeframe: of the candles.
            since: first open time.
            until: end of open times.
            limit: at most so many of each instrument, the newest.
        """
        ids = await self._instruments.ids(instruments)
        arguments = (ids.tolist(), timeframe.value, since, until, limit)
        found = decode(await self._copy(_CANDLES, *arguments), _CANDLE_FIELDS)
        found["open_ms"] = _milliseconds(found["open_ms"])
        order = np.lexsort((found["open_ms"], found["instrument_id"]))
        found = {name: column[order] for name, column in found.items()}
        starts = np.searchsorted(found["instrument_id"], ids, side="left")
        ends = np.searchsorted(found.pop("instrument_id"), ids, side="right")
        return [
            CandleSeries(
                instrument=instrument,
                **{name: column[start:end] for name, column in found.items()},
            )
            for instrument, start, end in zip(instruments, starts, ends, strict=True)
        ]

    async def panel(
        self,
        instruments: Sequence[Instrument],
        timeframe: Timeframe,
        *,
        since: datetime,
        until: datetime,
        limit: int | None = None,
    ) -> CandlePanel:
        """The same candles on one grid of times."""
        series = await self.candles(instruments, timeframe, since=since, until=until, limit=limit)
        return CandlePanel.of(series, timeframe)

    async def feature_rows(
        self,
        instruments: Sequence[Instrument],
        timeframe: Timeframe,
        feature_set: str,
        *,
        beside: str = "",
        since: datetime,
        until: datetime,
    ) -> FeatureTable:
        """The newest revision of the rows with since < as_of ≤ until; `beside` as in `examples`."""
        ids = await self._instruments.ids(instruments)
        columns, more = await self._columns(feature_set, beside)
        arguments = (ids.tolist(), timeframe.value, feature_set, since, until, beside, more)
        found = decode(await self._copy(FEATURES, *arguments), _feature_fields(columns))
        found["as_of_ms"] = _milliseconds(found["as_of_ms"])
        order = await self._order(found, "as_of_ms", "instrument_id", "revision")
        key = np.stack([found["as_of_ms"][order], found["instrument_id"][order]])
        newest = np.append((key[:, 1:] != key[:, :-1]).any(axis=0), True)[: len(order)]
        return FeatureTable(columns=columns, **await self._taken(found, order[newest]))

    async def rows_at(
        self,
        instruments: Sequence[Instrument],
        timeframe: Timeframe,
        closes: Sequence[datetime],
        *,
        feature_set: str,
        beside: str = "",
        until: datetime,
    ) -> FeatureTable:
        """The rows of these closes as they were known at `until`, as `examples` has them."""
        ids = await self._instruments.ids(instruments)
        columns, more = await self._columns(feature_set, beside)
        asked = (feature_set, until, beside, more)
        piece, parts = max(1, AT_ONCE // max(1, len(ids))), []
        for start in range(0, max(1, len(closes)), piece):
            wanted = (ids.tolist(), timeframe.value, closes[start : start + piece])
            copied = await self._copy(ROWS_AT, *wanted, *asked)
            parts.append(decode(copied, _feature_fields(columns)))
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        found["as_of_ms"] = _milliseconds(found["as_of_ms"])
        order = await self._order(found, "as_of_ms", "instrument_id")
        return FeatureTable(columns=columns, **await self._taken(found, order))

    async def examples(  # noqa: PLR0913 - what one query is asked
        self,
        exchange: str,
        timeframe: Timeframe,
        horizon: int,
        *,
        feature_set: str,
        beside: str = "",
        until: datetime,
        rows: int,
    ) -> Examples:
        """Feature rows with the label that came true, as both were known at `until`.

        Args:
            exchange: whose instruments.
            timeframe: of the rows.
            horizon: of the labels, in candles.
            feature_set: `name@version`.
            beside: another one, of what sources told: its columns come after the others, NaN
                where there is no row.
            until: nothing known later is in it; void labels are not either.
            rows: about so many at most: where there are more, closes are left out, evenly
                over the past.

        Returns:
            Them in the order of (known, as_of, instrument).
        """
        columns, more = await self._columns(feature_set, beside)
        asked = (exchange, timeframe.value, horizon, feature_set, until)
        arguments = (*asked, beside, more, rows, timeframe.ms // 1000)
        fields = (*EXAMPLE_FIELDS, ("features", ("f8", (len(columns),))))
        found = decode(await self._copy(EXAMPLES, *arguments), fields)
        for name in ("as_of_ms", "direction_known_ms", "known_ms"):
            found[name] = _milliseconds(found[name])
        order = await self._order(found, "known_ms", "as_of_ms", "instrument_id")
        return Examples(columns=columns, **await self._taken(found, order))

    async def pending_predictions(
        self,
        horizon: Horizon,
        *,
        exchange: str,
        after: datetime,
        until: datetime,
        judged_after: datetime,
    ) -> list[PredictionBatch]:
        """What had no outcome at a past tick, in batches by forecaster.

        Args:
            horizon: of the predictions.
            exchange: of their instruments.
            after: rows with as_of > `after` ...
            until: ... and as_of <= `until` ...
            judged_after: ... that have no outcome, or an as_of > this: those that have one
                now had none when it was the time of the newest complete label.
        """
        timeframe = horizon.timeframe
        rows = await self._pool.fetch(
            _PENDING, exchange, timeframe.value, horizon.steps, after, until, judged_after
        )
        shared = ("as_of", "role", "model", "version", "made_at", "origin", "members", "target")
        batches = groupby(rows, key=lambda row: tuple(row[name] for name in shared))
        return [_prediction_batch(exchange, timeframe, list(batch)) for _, batch in batches]

    async def newest_close(
        self, instruments: Sequence[Instrument], timeframe: Timeframe
    ) -> datetime | None:
        """Of their stored candles, the last to close; None: there is none."""
        ids = (await self._instruments.ids(instruments)).tolist()
        found: datetime | None = await self._pool.fetchval(_NEWEST_CLOSE, ids, timeframe.value)
        return found

    async def newest_served(
        self, instruments: Sequence[Instrument], horizon: Horizon
    ) -> dict[Instrument, datetime]:
        """The close that the newest served prediction of each is of, where there is one."""
        ids = await self._instruments.ids(instruments)
        rows = await self._pool.fetch(
            _NEWEST_SERVED, ids.tolist(), horizon.timeframe.value, horizon.steps
        )
        found = {row["instrument_id"]: row["as_of"] for row in rows}
        named = zip(instruments, ids.tolist(), strict=True)
        return {instrument: found[number] for instrument, number in named if number in found}

    async def reached(self, exchange: str) -> datetime | None:
        """When its newest candle was stored, or something of it published; None: there is none."""
        found: datetime | None = await self._pool.fetchval(
            _REACHED, exchange, [timeframe.value for timeframe in Timeframe]
        )
        return found

    async def open_signals(self, exchange: str, timeframe: Timeframe) -> list[Signal]:
        """Signals that the market has not answered yet, oldest first."""
        rows = await self._pool.fetch(_OPEN_SIGNALS, exchange, timeframe.value)
        return [signal_of(exchange, timeframe, row) for row in rows]

    async def _columns(self, feature_set: str, beside: str) -> tuple[tuple[str, ...], int]:
        """Those of a set and of the one beside it, and how many are of the latter."""
        columns = await self._columns_of(feature_set)
        more = await self._columns_of(beside) if beside else ()
        return columns + more, len(more)

    async def _columns_of(self, feature_set: str) -> tuple[str, ...]:
        query = "SELECT columns FROM feature_sets WHERE feature_set = $1"
        columns = await self._pool.fetchval(query, feature_set)
        if columns is None:
            raise StoreError(f"no feature set {feature_set} is registered")
        return tuple(columns)

    async def _order(self, found: Mapping[str, NDArray[Any]], *by: str) -> Ints:
        """The order of rows by these columns, instruments in theirs."""
        keys = {**found, "instrument_id": await self._rank(found["instrument_id"])}
        return np.lexsort([keys[name] for name in reversed(by)])

    async def _taken(self, found: Mapping[str, NDArray[Any]], rows: Ints) -> dict[str, Any]:
        """The columns of these rows, with instruments in the place of their numbers."""
        table = {name: column[rows] for name, column in found.items()}
        return {"instruments": await self._instruments.of(table.pop("instrument_id")), **table}

    async def _rank(self, ids: Ints) -> Ints:
        """The place of each instrument in the order of instruments."""
        unique, inverse = np.unique(ids, return_inverse=True)
        known = await self._instruments.of(unique)
        order = sorted(range(len(known)), key=known.__getitem__)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return rank[inverse]

    async def _copy(self, query: str, *arguments: object) -> bytes:
        output = BytesIO()

        async def receive(chunk: bytes) -> None:
            output.write(chunk)
            await asyncio.sleep(0)  # a long answer must not hold the loop

        async with self._pool.acquire() as connection:
            await connection.copy_from_query(query, *arguments, output=receive, format="binary")
        return output.getvalue()


def _feature_fields(columns: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    return (
        ("instrument_id", "i4"),
        ("as_of_ms", "i8"),
        ("revision", "i4"),
        ("candle_revision", "i4"),
        ("coverage", "f8"),
        ("values", ("f8", (len(columns),))),
    )


def _milliseconds(microseconds: NDArray[Any]) -> Ints:
    return microseconds // 1000 + POSTGRES_EPOCH_MS


def _prediction_batch(
    exchange: str, timeframe: Timeframe, rows: Sequence[asyncpg.Record]
) -> PredictionBatch:
    first = rows[0]
    return PredictionBatch(
        exchange=exchange,
        timeframe=timeframe,
        as_of=first["as_of"],
        instruments=tuple(Instrument(exchange, row["symbol"]) for row in rows),
        horizon=first["horizon"],
        role=Role(first["role"]),
        target=Target(first["target"]),
        model=first["model"],
        version=first["version"],
        members=orjson.loads(first["members"] or "{}"),
        made_at=first["made_at"],
        origin=Origin(first["origin"]),
        revision=_ints(rows, "revision"),
        feature_set=first["feature_set"],
        feature_revision=_ints(rows, "feature_revision"),
        probabilities=_floats(rows, "p_down", "p_flat", "p_up"),
        quantiles=_floats(rows, "q10", "q50", "q90"),
        volatility=_floats(rows, "volatility")[:, 0],
        degraded=tuple(row["degraded"] for row in rows),
        dissimilarity=_floats(rows, "dissimilarity")[:, 0],
    )


def signal_of(exchange: str, timeframe: Timeframe, row: asyncpg.Record) -> Signal:
    """A row of `trading_signals` with its `symbol`."""
    moments = {"as_of_ms": "as_of", "expires_ms": "expires_at", "made_ms": "made_at"}
    same = (
        "horizon revision side strength gate size_fraction model version status sigma"
        " entry_price stop take exit_price realized_return expected_edge_bps"
    )
    times: dict[str, Any] = {name: to_ms(row[column]) for name, column in moments.items()}
    values: dict[str, Any] = {name: row[name] for name in same.split()}
    return Signal(
        instrument=Instrument(exchange, row["symbol"]),
        timeframe=timeframe,
        closed_ms=None if row["closed_at"] is None else to_ms(row["closed_at"]),
        votes=None if row["votes"] is None else tuple(orjson.loads(row["votes"]).items()),
        **times,
        **values,
    )


def _ints(rows: Sequence[asyncpg.Record], name: str) -> Ints:
    return np.array([row[name] for row in rows], dtype=np.int64)


def _floats(rows: Sequence[asyncpg.Record], *names: str) -> Floats:
    """Shape (rows, names); NULL becomes NaN."""
    return np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
