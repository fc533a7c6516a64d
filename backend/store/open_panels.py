"""The panels that there are to be run: entered by who collects, run by whoever has the lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from domain.market import Timeframe

# Microseconds of the wall: an opening of a database that is made anew is none of the one before.
_ANNOUNCE: Final = """
INSERT INTO open_panels AS panel (exchange, timeframe, opening, opened_at)
SELECT $1, timeframe, extract(epoch FROM clock_timestamp()) * 1000000, clock_timestamp()
FROM unnest($2::text[]) AS timeframe
ON CONFLICT (exchange, timeframe) DO UPDATE
    SET opening = greatest(panel.opening + 1, EXCLUDED.opening), opened_at = EXCLUDED.opened_at
RETURNING timeframe, opening
"""
_WITHDRAW: Final = """
DELETE FROM open_panels WHERE exchange = $1 AND timeframe <> ALL ($2::text[])
"""
_OPENED: Final = """
SELECT exchange, timeframe, opening FROM open_panels ORDER BY exchange, timeframe
"""


class OpenPanel(NamedTuple):
    """A panel whose history is stored."""

    exchange: str
    timeframe: Timeframe
    opening: int  # grows


async def announce(
    pool: asyncpg.Pool, exchange: str, timeframes: Sequence[Timeframe]
) -> dict[Timeframe, int]:
    """The history of an exchange is stored: its panels may begin, or begin anew; no others.

    Returns:
        The openings, which the ticks that follow are to bear.
    """
    names = [one.value for one in timeframes]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_WITHDRAW, exchange, names)
        rows = await connection.fetch(_ANNOUNCE, exchange, names)
    return {Timeframe(row["timeframe"]): row["opening"] for row in rows}


async def opened(pool: asyncpg.Pool) -> list[OpenPanel]:
    """All that there are, sorted."""
    rows = await pool.fetch(_OPENED)
    return [OpenPanel(row["exchange"], Timeframe(row["timeframe"]), row["opening"]) for row in rows]
