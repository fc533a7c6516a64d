"""The panels that there are to be run: entered by who collects, run by whoever has the lease."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from domain.market import Timeframe

_ANNOUNCE: Final = """
INSERT INTO open_panels (exchange, timeframe, opening, opened_at)
SELECT $1, timeframe, 1, clock_timestamp() FROM unnest($2::text[]) AS timeframe
ON CONFLICT (exchange, timeframe) DO UPDATE
    SET opening = open_panels.opening + 1, opened_at = clock_timestamp()
"""
_WITHDRAW: Final = """
DELETE FROM open_panels WHERE exchange = $1 AND timeframe <> ALL ($2::text[])
"""
_OPENED: Final = """
SELECT exchange, timeframe, opening, opened_at FROM open_panels ORDER BY exchange, timeframe
"""


class OpenPanel(NamedTuple):
    """A panel whose history is stored."""

    exchange: str
    timeframe: Timeframe
    opening: int  # how often it was
    opened_at: datetime  # by the database's clock: what was collected since is on the road


async def announce(pool: asyncpg.Pool, exchange: str, timeframes: Sequence[Timeframe]) -> None:
    """The history of an exchange is stored: its panels may begin, or begin anew; no others."""
    names = [one.value for one in timeframes]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_WITHDRAW, exchange, names)
        await connection.execute(_ANNOUNCE, exchange, names)


async def opened(pool: asyncpg.Pool) -> list[OpenPanel]:
    """All that there are, sorted."""
    rows = await pool.fetch(_OPENED)
    return [
        OpenPanel(row["exchange"], Timeframe(row["timeframe"]), row["opening"], row["opened_at"])
        for row in rows
    ]
