"""What the system that predicts says of itself, kept for servers beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

SYSTEM: Final = "panels"  # one system predicts over a database
_TELL: Final = """
INSERT INTO system_status (system, told, now, told_at) VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT (system) DO UPDATE SET told = $2, now = $3, told_at = clock_timestamp()
"""
_AGAIN: Final = """
UPDATE system_status SET now = $2, told_at = clock_timestamp() WHERE system = $1
"""
_HEAR: Final = """
SELECT told, now, extract(epoch FROM clock_timestamp() - told_at)::float8 AS silent_s
FROM system_status WHERE system = $1
"""


class Told(NamedTuple):
    """What the system said last."""

    told: Mapping[str, Any]
    now: datetime  # of its clock, when it said so
    silent_s: float  # wall seconds since, by the database's clock


class StatusStore:
    """One for a process, on a pool that writes."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._told: bytes | None = None

    async def tell(self, told: Mapping[str, Any], now: datetime) -> None:
        """Keep what the system says of itself; only that it still speaks, where nothing changed."""
        spelled = orjson.dumps(told)
        if spelled == self._told:
            await self._pool.execute(_AGAIN, SYSTEM, now)
            return
        await self._pool.execute(_TELL, SYSTEM, spelled.decode(), now)
        self._told = spelled


async def hear(pool: asyncpg.Pool) -> Told | None:
    """What the system said last; None where it never spoke."""
    row = await pool.fetchrow(_HEAR, SYSTEM)
    return row and Told(orjson.loads(row["told"]), row["now"], row["silent_s"])
