"""Rows that the tables refuse are set aside with the reason; the rest of their batch is kept."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from math import isfinite
from typing import Any, Final

import asyncpg
import numpy as np
import orjson
from numpy.typing import NDArray

from backend.metrics import ANSWERS_REFUSED, CANDLES_QUARANTINED
from backend.store.copy import Rows
from collectors.unreadable import Unreadable
from domain.events import Candle, Ints
from domain.sources import Refused

# What a table answers to a row that it cannot hold. A unique key is a matter of merging.
REFUSALS: Final = (
    asyncpg.CheckViolationError,
    asyncpg.NotNullViolationError,
    asyncpg.DataError,
)

_INSERT: Final = """
INSERT INTO quarantine (source, received_at, reason, detail, payload)
SELECT $1, $2, $3, * FROM unnest($4::text[], $5::jsonb[])
"""

Marks = NDArray[Any]
Store = Callable[[Rows], Awaitable[Marks]]


async def keep_good(
    connection: asyncpg.Connection, rows: Rows, store: Store, *, received_at: datetime
) -> Marks:
    """Store the rows, halving a refused batch until the refused rows stand alone.

    Args:
        connection: within a transaction; each attempt is a savepoint of it.
        rows: what to store.
        store: stores rows and marks those that changed the table, shape (n,).
        received_at: the time that quarantined rows are given.

    Returns:
        The marks of `store`, shape (n,); 0 where a row is set aside.
    """
    try:
        async with connection.transaction():
            return await store(rows)
    except REFUSALS as error:
        refusal = error
    if rows.count == 1:
        await set_aside(
            connection, rows, reason="refused", detail=str(refusal), received_at=received_at
        )
        return np.zeros(1, dtype=np.bool_)
    positions: Ints = np.arange(rows.count)
    halves = [
        await keep_good(connection, rows.take(half), store, received_at=received_at)
        for half in np.array_split(positions, 2)
    ]
    return np.concatenate(halves)


async def set_aside(
    connection: asyncpg.Connection, rows: Rows, *, reason: str, detail: str, received_at: datetime
) -> None:
    """Put rows into quarantine."""
    source = rows.table.name
    payloads = [spell(rows.describe(position)) for position in range(rows.count)]
    details = [detail] * rows.count
    await connection.execute(_INSERT, source, received_at, reason, details, payloads)


def spell(row: dict[str, Any]) -> str:
    """The row as JSON in which NaN and infinities can be told from null."""
    return orjson.dumps({name: _readable(value) for name, value in row.items()}).decode()


def _readable(value: Any) -> Any:  # noqa: ANN401 - any value of a row
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_readable(one) for one in value]
    return value


async def refuse_candle(
    pool: asyncpg.Pool, candle: Candle, *, reason: str, received_at: datetime
) -> None:
    """Put a candle that cannot be into quarantine as it was told."""
    told = {
        "exchange": candle.instrument.exchange,
        "symbol": candle.instrument.symbol,
        "timeframe": candle.timeframe.value,
        "open_ms": candle.open_ms,
        "open": candle.open,
        "high": candle.high,
        "low": candle.low,
        "close": candle.close,
        "volume": candle.volume,
    }
    await pool.execute(_INSERT, "collectors", received_at, "impossible", [reason], [spell(told)])
    CANDLES_QUARANTINED.labels(reason).inc()


async def refuse_unreadable(
    pool: asyncpg.Pool, unread: Sequence[Unreadable], *, received_at: datetime
) -> None:
    """Put what an exchange sent and nobody can read into quarantine, byte for byte."""
    payloads = [
        orjson.dumps({"exchange": one.exchange, "bytes": one.size, **_bytes(one.raw)}).decode()
        for one in unread
    ]
    reasons = [one.reason for one in unread]
    await pool.execute(_INSERT, "collectors", received_at, "unreadable", reasons, payloads)
    CANDLES_QUARANTINED.labels("unreadable").inc(len(unread))


async def refuse_answers(
    pool: asyncpg.Pool, refused: Sequence[Refused], *, received_at: datetime
) -> None:
    """Put what sources sent and nobody can read into quarantine, byte for byte."""
    payloads = [
        orjson.dumps({"source": one.source, "bytes": one.size, **_bytes(one.raw)}).decode()
        for one in refused
    ]
    reasons = [one.reason for one in refused]
    await pool.execute(_INSERT, "sources", received_at, "unreadable", reasons, payloads)
    for one in refused:
        ANSWERS_REFUSED.labels(one.source).inc()


def _bytes(raw: bytes) -> dict[str, str]:
    """As text where JSON in a table can hold it, else in base 64."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return {"raw_base64": b64encode(raw).decode()}
    return {"raw_base64": b64encode(raw).decode()} if "\0" in text else {"raw": text}
