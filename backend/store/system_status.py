"""What the processes that collect and predict say of themselves, kept for servers beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

SYSTEM: Final = "panels"  # of one process that does all
SOURCES: Final = "sources"  # of whoever asks them where rooms run apart, and of the lease
_TELL: Final = """
INSERT INTO system_status (system, told, now, told_at) VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT (system) DO UPDATE SET told = $2, now = $3, told_at = clock_timestamp()
"""
_AGAIN: Final = """
UPDATE system_status SET now = $2, told_at = clock_timestamp() WHERE system = $1
"""
_HEAR: Final = """
SELECT system, told, now, extract(epoch FROM clock_timestamp() - told_at)::float8 AS silent_s
FROM system_status ORDER BY system
"""
_FORGET: Final = """
DELETE FROM system_status
WHERE system = $1 OR (starts_with(system, 'panel ') AND system <> ALL ($2::text[]))
    OR told_at < clock_timestamp() - interval '1 hour'
"""
# Since it was taken: who has just taken it over has not spoken yet.
_SILENT: Final = """
SELECT system FROM system_status JOIN leases ON name = system WHERE system = ANY($1::text[])
    AND greatest(told_at, taken_at) < clock_timestamp() - $2::float8 * interval '1 second'
"""
_ONLY: Final = "DELETE FROM system_status WHERE system <> ALL ($1::text[])"


def panel_voice(panel: str) -> str:
    """The voice of whoever runs a panel, and the name of its lease."""
    return f"panel {panel}"


def collectors_voice(exchange: str) -> str:
    """The voice of whoever collects an exchange, and the name of its lease."""
    return f"collectors of {exchange}"


def exchange_of(voice: str) -> str:
    """The exchange that `collectors_voice` is of.

    >>> exchange_of(collectors_voice("kraken"))
    'kraken'
    """
    return voice.removeprefix(collectors_voice(""))


class Told(NamedTuple):
    """What one of them said last."""

    system: str
    told: Mapping[str, Any]
    now: datetime  # of its clock, when it said so
    silent_s: float  # wall seconds since, by the database's clock


class StatusStore:
    """One voice, on a pool that writes.

    Args:
        pool: of connections.
        name: of the voice; whoever takes its work over speaks in its place.
    """

    def __init__(self, pool: asyncpg.Pool, name: str = SYSTEM) -> None:
        self._pool = pool
        self.name = name
        self._told: bytes | None = None

    async def tell(self, told: Mapping[str, Any], now: datetime) -> None:
        """Keep what it says of itself; only that it still speaks, where nothing changed."""
        spelled = orjson.dumps(told)
        if spelled == self._told:
            await self._pool.execute(_AGAIN, self.name, now)
            return
        await self._pool.execute(_TELL, self.name, spelled.decode(), now)
        self._told = spelled


async def hear(pool: asyncpg.Pool) -> list[Told]:
    """What each voice said last; none where nobody ever spoke."""
    rows = await pool.fetch(_HEAR)
    return [
        Told(row["system"], orjson.loads(row["told"]), row["now"], row["silent_s"]) for row in rows
    ]


async def silent(pool: asyncpg.Pool, voices: Collection[str], *, for_s: float) -> list[str]:
    """Those whose holder has said nothing for so long, by the database's clock."""
    rows = await pool.fetch(_SILENT, list(voices), for_s)
    return [row["system"] for row in rows]


async def keep_only(pool: asyncpg.Pool, names: Sequence[str]) -> None:
    """Forget what all other voices said: nobody speaks with them any more."""
    await pool.execute(_ONLY, list(names))


async def forget_gone(pool: asyncpg.Pool, panels: Sequence[str]) -> None:
    """Forget panels that are not open any more, one process that did all, and what is an hour old.

    Args:
        pool: of connections that write.
        panels: the voices of those that are open.
    """
    await pool.execute(_FORGET, SYSTEM, list(panels))
