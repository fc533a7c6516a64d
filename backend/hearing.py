"""What sources told, in a process that runs panels: read from the tables as it is stored there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import asyncpg

from backend.background import Rounds
from backend.panel import PanelKey
from backend.store import seals
from backend.store.database import patiently
from backend.store.sources import Dated
from backend.store.told import RECALLED, facts, recall
from backend.wiring import Store
from domain.market import EPOCH, from_ms, to_ms
from domain.ports import Clock
from domain.topics import panel_key
from services.sentiment.blend import NAME
from services.sentiment.features import SentimentFeatures

LOOK_EVERY: Final = timedelta(seconds=1)  # wall; so that a close finds nearly all read


@dataclass(slots=True, kw_only=True)
class Hearing:
    """Keeps `told` as the tables have it. It is to `begin` first.

    Args:
        store: the tables.
        clock: of the market.
        wall: of looks, and of waiting for the database.
        alone: nobody else stores what sources tell, and whoever does here says so (`storing`):
            only then the database is asked at a close.
    """

    store: Store
    clock: Clock
    wall: Clock
    alone: bool
    told: SentimentFeatures = field(init=False)
    _read: datetime = EPOCH  # the date up to which facts were read
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _sealed: dict[str, datetime] = field(default_factory=dict)  # by panel: newest close
    _answered: datetime = EPOCH  # newest close
    _storing: int = 0
    _doubts: int = 0  # how often it was not said whether something is stored
    _settled: int = 0  # of those, up to which it is known

    async def begin(self, *, since: datetime | None = None) -> None:
        """Take in what became known after `since`; None: as much as a close may need."""
        await patiently(partial(self._begin, since or self.clock.now() - RECALLED), self.wall)

    async def _begin(self, since: datetime) -> None:
        async with (
            self.store.readers.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            newest = await seals.newest_facts(connection)
            self.told, last_ms = await recall(
                connection, self.store.instruments, since=since, scorer=NAME
            )
        self._read = max(newest, from_ms(last_ms))  # a release that seals nothing may have written

    async def run(self) -> None:
        """Read on between the closes, and prepare the next of them, until cancelled."""
        with Rounds("the reading of what sources tell") as reading:
            while True:
                await self.wall.sleep(LOOK_EVERY)
                with reading.going_on():
                    if await patiently(self._read_on, self.wall):
                        await asyncio.to_thread(self.told.prepare)

    async def before(self, key: PanelKey, close: datetime) -> None:
        """To be awaited before a panel answers a close: all that counts as known at it is here."""
        doubts = self._doubts
        self._answered = max(close, self._answered)
        if self.alone and not self._storing and self._settled == doubts:
            return
        panel = panel_key(key.exchange, key.timeframe)

        async def seal() -> None:
            await seals.seal(self.store.writers, panel, close)
            await self._read_on()

        await patiently(seal, self.wall)
        self._settled = max(self._settled, doubts)
        self._sealed[panel] = max(close, self._sealed.get(panel, EPOCH))

    @asynccontextmanager
    async def storing(self, clock: Clock, *, least_ms: int = 0) -> AsyncIterator[Dated]:
        """As `SourceStore.dated`; what is stored is here at the end."""
        doubts, done = self._doubts, False
        least_ms = max(least_ms, to_ms(self._answered) + 1)
        self._storing += 1
        try:
            async with self.store.sources.dated(clock, least_ms=least_ms) as dated:
                yield dated
            await self._read_on()
            self._settled, done = max(self._settled, doubts), True
        finally:
            self._storing -= 1
            self._doubts += not done
        await asyncio.to_thread(self.told.prepare)

    async def fence(self, key: PanelKey, connection: asyncpg.Connection) -> None:
        """See within a transaction that what the panel has answered is sealed.

        Raises:
            LeaseLostError: it is not; the panel is to be begun anew.
        """
        panel = panel_key(key.exchange, key.timeframe)
        if panel in self._sealed:
            await seals.refuse_unsealed(connection, panel, self._sealed[panel])

    async def _read_on(self) -> bool:
        """Take in what was stored since; whether anything was."""
        newest = await seals.newest_facts(self.store.readers)
        if newest <= self._read:
            return False
        async with self._turn:
            if newest <= self._read:  # another panel was here
                return False
            read = partial(facts, self.store.readers, self.store.instruments, scorer=NAME)
            (await read(since=self._read, until=newest)).join(self.told)
            self._read = newest
        return True
