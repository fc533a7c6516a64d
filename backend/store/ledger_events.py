"""What the record says of a stretch of closes, as the events that the ledger is fed with."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

import asyncpg
import numpy as np

from backend.store.history import signal_of
from backend.store.tables import named, trading_signals
from domain.account import FundingBatch
from domain.events import CandleBatch, Floats, Signal, SignalBatch
from domain.market import Instrument, Listing, Timeframe, from_ms, to_ms
from domain.sources import Metric
from services.ledger.ledger import name_of

HOUR_MS: Final = 3_600_000
Event = FundingBatch | SignalBatch | CandleBatch

# A candle counts as the tick had it: the version that was known first, of those it was drawn of.
_CANDLES: Final = """
SELECT DISTINCT ON (c.close_time, i.symbol)
    c.close_time, i.symbol, c.open, c.high, c.low, c.close, c.volume, c.known
FROM (
    SELECT *, CASE WHEN source = 'backfill' THEN close_time ELSE known_at END AS known FROM (
        SELECT instrument_id, close_time, open, high, low, close, volume, source, known_at, row_hash
        FROM candles
        WHERE instrument_id = ANY($3::int[]) AND timeframe = $2 AND open_time >= $4
          AND open_time < $5
        UNION ALL
        SELECT instrument_id, close_time, open, high, low, close, volume, source, known_at, row_hash
        FROM candle_revisions
        WHERE instrument_id = ANY($3::int[]) AND timeframe = $2 AND open_time >= $4
          AND open_time < $5
    ) AS versions
) AS c
JOIN instruments i USING (instrument_id)
LEFT JOIN cross_sections x
  ON x.exchange = $1 AND x.timeframe = $2 AND x.as_of = c.close_time
WHERE CASE WHEN x.members IS NULL THEN c.known < c.close_time + $6::interval
           ELSE c.instrument_id = ANY(x.members) END
ORDER BY c.close_time, i.symbol, c.known, c.row_hash
"""
# The index: trading_signals_sides_idx.
_SIGNALS: Final = f"""
SELECT {named(trading_signals, "t")}, i.symbol
FROM trading_signals t JOIN instruments i USING (instrument_id)
WHERE t.instrument_id = ANY($1::int[]) AND t.timeframe = $2 AND t.side <> 'flat'
  AND t.as_of < $4 AND (t.closed_at IS NULL OR t.closed_at > $3 OR t.as_of >= $5)
ORDER BY t.as_of, i.symbol, t.horizon, t.revision
"""  # noqa: S608 - words of ours
_RATES: Final = """
SELECT s.at, i.symbol, m.value
FROM unnest($2::timestamptz[], $3::timestamptz[]) AS s (at, known_by)
CROSS JOIN instruments i
LEFT JOIN LATERAL (
    SELECT value FROM market_metrics m
    WHERE m.instrument_id = i.instrument_id AND m.metric = $5 AND m.known_at <= s.known_by
      AND m.event_time <= s.at AND m.event_time > s.at - $4::interval
    ORDER BY m.event_time DESC, m.known_at DESC LIMIT 1
) m ON true
WHERE i.instrument_id = ANY($1::int[]) AND i.kind = 'swap'
ORDER BY s.at, i.symbol
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Closes of a panel: after `since`, up to `until`."""

    exchange: str
    timeframe: Timeframe
    since: datetime
    until: datetime
    listings: Mapping[int, Listing]  # by the number of the instrument
    funding: timedelta  # between two settlements of a perpetual
    running: Mapping[str, datetime]  # signals that the ledger follows, and when they were decided


async def events(connection: asyncpg.Connection, stretch: Stretch) -> list[Event]:
    """Of each close in turn: funding, signals that were entered and left, and the candles."""
    batches = await _candles(connection, stretch)
    lives = _lives(await _signals(connection, stretch), batches)
    due = await _due(connection, stretch, [batch.as_of for batch in batches])
    found: list[Event] = []
    for batch in batches:
        if rates := due.get(batch.as_of):
            found.append(_funding(batch, rates))
        told = {event: lives.get((batch.as_of, event)) for event in ("updated", "closed")}
        found += [_told(batch, event, signals) for event, signals in told.items() if signals]
        found.append(batch)
    return found


async def _candles(connection: asyncpg.Connection, stretch: Stretch) -> list[CandleBatch]:
    bar, exchange = stretch.timeframe.duration, stretch.exchange
    rows = await connection.fetch(
        _CANDLES, exchange, stretch.timeframe.value, list(stretch.listings), stretch.since,
        stretch.until, bar,
    )  # fmt: skip
    batches = []
    for as_of, group in groupby(rows, key=lambda row: row["close_time"]):
        tick = list(group)
        batches.append(
            CandleBatch(
                exchange=exchange,
                timeframe=stretch.timeframe,
                as_of=as_of,
                instruments=tuple(Instrument(exchange, row["symbol"]) for row in tick),
                known_at=max(as_of, *(row["known"] for row in tick)),
                revision=np.ones(len(tick), dtype=np.int64),
                open=_column(tick, "open"),
                high=_column(tick, "high"),
                low=_column(tick, "low"),
                close=_column(tick, "close"),
                volume=_column(tick, "volume"),
            )
        )
    return batches


async def _signals(connection: asyncpg.Connection, stretch: Stretch) -> list[Signal]:
    """With a side, that were open after `since`, or whose end was told too late for its close."""
    oldest = min(stretch.running.values(), default=stretch.until)
    rows = await connection.fetch(
        _SIGNALS, list(stretch.listings), stretch.timeframe.value, stretch.since, stretch.until,
        oldest,
    )  # fmt: skip
    found = [signal_of(stretch.exchange, stretch.timeframe, row) for row in rows]
    since_ms = to_ms(stretch.since)
    return [
        one
        for one in found
        if one.closed_ms is None or one.closed_ms > since_ms or name_of(one) in stretch.running
    ]


async def _due(
    connection: asyncpg.Connection, stretch: Stretch, closes: Sequence[datetime]
) -> dict[datetime, dict[str, float]]:
    """Close → symbol → what perpetuals settled since the close before; NaN: no rate was known.

    Of a settlement counts the newest rate that was measured by then and known by the next close.
    """
    bar_ms, step_ms = stretch.timeframe.ms, stretch.funding // timedelta(milliseconds=1)
    since_ms, until_ms = to_ms(stretch.since), to_ms(stretch.until)
    settled = range(-(-since_ms // step_ms) * step_ms, until_ms, step_ms)
    rows = await connection.fetch(
        _RATES, list(stretch.listings), [from_ms(at) for at in settled],
        [from_ms((at // bar_ms + 1) * bar_ms) for at in settled], stretch.funding,
        Metric.FUNDING_RATE,
    )  # fmt: skip
    due: dict[datetime, dict[str, float]] = {}
    for row in rows:
        place = bisect_right(closes, row["at"])
        if place < len(closes):
            rates = due.setdefault(closes[place], {})
            rate = math.nan if row["value"] is None else row["value"]
            rates[row["symbol"]] = rates.get(row["symbol"], 0.0) + rate
    return due


def _lives(
    signals: Sequence[Signal], batches: Sequence[CandleBatch]
) -> dict[tuple[datetime, str], list[Signal]]:
    """(Close, event) → signals: entered at their first candle, left at the close they ended by."""
    closes = [to_ms(batch.as_of) for batch in batches]
    priced: dict[Instrument, list[int]] = {}
    for batch, close in zip(batches, closes, strict=True):
        for instrument in batch.instruments:
            priced.setdefault(instrument, []).append(close)
    lives: dict[tuple[datetime, str], list[Signal]] = {}
    for signal in signals:
        if signal.entry_price is None:
            continue
        ended = _first(closes, bisect_left, signal.closed_ms)
        entered = _first(priced.get(signal.instrument, []), bisect_right, signal.as_of_ms)
        if entered is not None and (ended is None or entered < ended):
            lives.setdefault((from_ms(entered), "updated"), []).append(_running(signal))
        if ended is not None:
            lives.setdefault((from_ms(ended), "closed"), []).append(signal)
    return lives


def _first(times: Sequence[int], place: Any, moment: int | None) -> int | None:  # noqa: ANN401 - of bisect
    at = len(times) if moment is None else place(times, moment)
    return times[at] if at < len(times) else None


def _running(signal: Signal) -> Signal:
    """Before it was left."""
    return replace(signal, status="active", closed_ms=None, exit_price=None, realized_return=None)


def _funding(batch: CandleBatch, rates: Mapping[str, float]) -> FundingBatch:
    return FundingBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=tuple(Instrument(batch.exchange, symbol) for symbol in rates),
        rate=np.array(list(rates.values())),
    )


def _told(batch: CandleBatch, event: str, signals: Sequence[Signal]) -> SignalBatch:
    return SignalBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=tuple(one.instrument for one in signals),
        event=event,
        signals=tuple(signals),
    )


def _column(rows: Sequence[asyncpg.Record], name: str) -> Floats:
    return np.array([row[name] for row in rows], dtype=np.float64)
