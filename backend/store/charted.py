"""Candles, signals and seats as a chart asks for them: by time, or so many before a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg

MOST_BARS: Final = 10_000
MOST_MARKS: Final = 1_000

_COLUMNS: Final = "open_time, open, high, low, close, volume"
_BETWEEN: Final = f"""
SELECT {_COLUMNS} FROM candles
WHERE instrument_id = $1 AND timeframe = $2 AND open_time >= $3 AND open_time < $4
ORDER BY open_time DESC LIMIT {MOST_BARS}
"""  # noqa: S608 - words of ours
_BEFORE: Final = f"""
SELECT {_COLUMNS} FROM candles
WHERE instrument_id = $1 AND timeframe = $2 AND open_time < $3 ORDER BY open_time DESC LIMIT $4
"""  # noqa: S608 - words of ours
_NEWEST_BEFORE: Final = """
SELECT max(open_time) FROM candles
WHERE instrument_id = $1 AND timeframe = $2 AND open_time < $3
"""
_SIGNALS: Final = f"""
SELECT DISTINCT ON (as_of, horizon) as_of, horizon, revision, side, strength, status,
       realized_return
FROM trading_signals
WHERE instrument_id = $1 AND timeframe = $2 AND as_of > $3 AND as_of <= $4 AND side <> 'flat'
ORDER BY as_of DESC, horizon, revision DESC LIMIT {MOST_MARKS}
"""  # noqa: S608 - words of ours
_DECISIONS: Final = f"""
SELECT id, decided_at, name, verdict, horizon, evidence ->> 'words' AS words
FROM promotion_decisions
WHERE exchange = $1 AND timeframe = $2 AND decided_at >= $3 AND decided_at < $4
ORDER BY id DESC LIMIT {MOST_MARKS}
"""  # noqa: S608 - words of ours


async def bars_between(
    connection: asyncpg.Connection, instrument: int, timeframe: str, start: datetime, end: datetime
) -> list[asyncpg.Record]:
    """Candles that open in [start, end), oldest first; of more than `MOST_BARS` the newest."""
    return list(reversed(await connection.fetch(_BETWEEN, instrument, timeframe, start, end)))


async def bars_before(
    connection: asyncpg.Connection, instrument: int, timeframe: str, end: datetime, count: int
) -> list[asyncpg.Record]:
    """The last `count` candles that open before `end`, oldest first."""
    wanted = min(count, MOST_BARS)
    return list(reversed(await connection.fetch(_BEFORE, instrument, timeframe, end, wanted)))


async def newest_before(
    connection: asyncpg.Connection, instrument: int, timeframe: str, moment: datetime
) -> datetime | None:
    """When the last candle before `moment` opened."""
    found: datetime | None = await connection.fetchval(
        _NEWEST_BEFORE, instrument, timeframe, moment
    )
    return found


async def signals_between(
    connection: asyncpg.Connection, instrument: int, timeframe: str, start: datetime, end: datetime
) -> Sequence[asyncpg.Record]:
    """Signals with a side whose last candle closed in (start, end], newest first."""
    found: Sequence[asyncpg.Record] = await connection.fetch(
        _SIGNALS, instrument, timeframe, start, end
    )
    return found


async def decisions_between(
    connection: asyncpg.Connection, exchange: str, timeframe: str, start: datetime, end: datetime
) -> Sequence[asyncpg.Record]:
    """What was decided about models in [start, end), newest first."""
    found: Sequence[asyncpg.Record] = await connection.fetch(
        _DECISIONS, exchange, timeframe, start, end
    )
    return found
