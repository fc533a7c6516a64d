"""Reads the stream log behind what a broker has taken, and notes how far that is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import asyncpg

from backend.store import tail
from backend.store.database import patiently
from backend.store.stream_log import StreamEvent
from backend.store.stream_reads import START, Log, Place, Reader, places_behind, read_log
from backend.store.told_events import meet_head, mended_head
from domain.errors import StoreError
from domain.ports import Clock

_CURSORS: Final = "SELECT log, block FROM relay_cursors WHERE cluster = $1"
_MOVE: Final = """
INSERT INTO relay_cursors (cluster, log, block) VALUES ($1, $2, $3)
ON CONFLICT (cluster, log) DO UPDATE SET block = EXCLUDED.block
"""
_BEHIND: Final = """
SELECT coalesce(sum(head.block - coalesce(taken.block, 0)), 0)::bigint
FROM stream_heads AS head
LEFT JOIN (SELECT log, max(block) AS block FROM relay_cursors GROUP BY log) AS taken USING (log)
WHERE split_part(log, '.', 1) = ANY($1::text[])
"""


async def behind(pool: asyncpg.Pool, channels: Sequence[str]) -> int:
    """Blocks of these channels' logs that no cluster has taken."""
    return int(await pool.fetchval(_BEHIND, channels))


class Untaken:
    """The events that the topics of one cluster have not taken yet, in the order of each log.

    Args:
        pool: of connections that no tick waits for.
        wall: of waits while the database is away.
        topics: the cluster's id, with a prefix of theirs behind it; new ones have taken nothing.
        channels: of streams that are read.
    """

    def __init__(
        self, pool: asyncpg.Pool, wall: Clock, *, topics: str, channels: Sequence[str]
    ) -> None:
        self._pool, self._wall = pool, wall
        self._topics, self._channels = topics, channels
        self._cursors: dict[str, int] | None = None
        self._places: dict[str, dict[str, Place]] = {}  # log → stream → its last event taken

    async def pages(self) -> AsyncIterator[list[StreamEvent]]:
        """What there is now; asking for the next page says that the one before was taken."""
        if self._cursors is None:
            self._cursors = dict(await self._ask(_CURSORS, self._topics))
        heads = await patiently(partial(tail.heads, self._pool, self._channels), self._wall)
        for name, head in heads.items():
            if self._cursors.get(name, 0) < head:
                try:
                    async for page in self._pages_of(name, self._cursors.get(name, 0)):
                        yield page
                except StoreError as error:  # the other logs go on
                    meet_head(name, error)
                else:
                    mended_head(name)

    async def _pages_of(self, name: str, cursor: int) -> AsyncIterator[list[StreamEvent]]:
        log = await patiently(partial(self._log, name, cursor), self._wall)
        known = self._places[name]
        reader = Reader(
            log,
            {stream: known.get(stream, START)._replace(block=cursor) for stream in log.places},
            log.heads,
        )
        while not reader.ended:
            page = await patiently(partial(self._page, reader), self._wall)
            if page:
                yield page
            known.update((one.stream, Place(one.offset, one.hash, 0)) for one in page)
            await self._take(name, reader.block)
        await self._take(name, log.block)

    async def _log(self, name: str, cursor: int) -> Log:
        async with self._pool.acquire() as connection:
            log = await read_log(connection, name)
            if log is None:
                raise LookupError(name)  # its head was there a moment ago
            if name not in self._places or self._places[name].keys() - log.places:
                self._places[name] = await places_behind(connection, log, cursor)
            return log

    async def _page(self, reader: Reader) -> list[StreamEvent]:
        async with self._pool.acquire() as connection:
            return await reader.page(connection)

    async def _take(self, name: str, block: int) -> None:
        if self._cursors is not None and self._cursors.get(name) != block:
            await self._ask(_MOVE, self._topics, name, block)
            self._cursors[name] = block

    async def _ask(self, statement: str, *values: object) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await patiently(
            partial(self._pool.fetch, statement, *values), self._wall
        )
        return found
