"""Puts predictions and signals on a broker: each committed event, from where the last run ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import asyncpg
from aiokafka.errors import KafkaError

from backend import metrics
from backend.background import Rounds
from backend.bus.broker import Producer, event_topics, prepare, producing
from backend.bus.outage import Outage
from backend.bus.records import CHANNELS, records
from backend.bus.troubles import STUCK
from backend.setting_tables import KafkaSettings
from backend.store.database import connect_pool, patiently
from backend.store.relayed import Untaken, behind
from backend.store.stream_log import StreamEvent
from collectors.pacing import Pace
from domain.errors import StoreError
from domain.topics import PREFIX
from domain.troubles import Trouble

log = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(milliseconds=100)  # of wall time, while nothing is new
CONNECTIONS: Final = 1  # of our own: no tick waits for it
PAUSE: Final = timedelta(minutes=1)  # after what nobody foresaw
MEASURE_EVERY: Final = timedelta(seconds=1)  # of wall time


@dataclass(slots=True, kw_only=True)
class Relay:
    """Follows the stream log.

    Args:
        about: the settings.
        pool: of connections that no tick waits for.
        pace: the machine's clock, and the chance in waits.
        free: waits while a tick is on its way to subscribers.
    """

    about: KafkaSettings
    pool: asyncpg.Pool
    pace: Pace
    free: Callable[[], Awaitable[None]]
    _outage: Outage = field(init=False)
    _behind: int = 0  # blocks, when they were counted last
    _well: datetime = field(init=False)  # when something was taken last, or all was

    def __post_init__(self) -> None:
        self._well = self.pace.wall.now()
        said = {"begins": "the broker takes no events", "ends": "the broker takes events again"}
        self._outage = Outage(pace=self.pace, **said)

    def troubles(self) -> list[Trouble]:
        """That the broker takes nothing, since when, and how much waits for it."""
        why = self._outage.why
        stuck = self._behind > 0 and self.pace.wall.now() - self._well >= STUCK
        if not (why or stuck):
            return []
        reason = f"it takes no events ({why or 'no answer'}); blocks that wait: {self._behind}"
        return [Trouble(about="broker", since=self._well, reason=reason)]

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._relay())
            tasks.create_task(self._measure())

    async def _measure(self) -> None:
        """Count what waits, whatever the broker does."""
        with Rounds("the count of what waits for the broker") as count:
            while True:
                with count.going_on():
                    await self._count()
                await self.pace.wall.sleep(MEASURE_EVERY)

    async def _count(self) -> None:
        count = partial(behind, self.pool, [*CHANNELS])
        self._behind = await patiently(count, self.pace.wall)
        metrics.BLOCKS_BEHIND.set(self._behind)
        if not (self._behind or self._outage.why):
            self._well = self.pace.wall.now()

    async def _relay(self) -> None:
        """For ever. After whatever failed, the log is read again from what was taken."""
        while True:
            try:
                cluster = await prepare(self.about, event_topics)
                async with producing(self.about) as producer:
                    prefix = self.about.prefix
                    topics = cluster if prefix == PREFIX else f"{cluster}/{prefix}"
                    await self._follow(producer, topics)
            except (KafkaError, OSError) as error:
                await self._outage.wait(error)
            except StoreError as error:
                log.warning("the relay pauses", extra={"reason": str(error)})
                await self.pace.wall.sleep(PAUSE)
            except Exception:  # ticks go on
                log.exception("the relay pauses")
                await self.pace.wall.sleep(PAUSE)

    async def _follow(self, producer: Producer, topics: str) -> None:
        untaken = Untaken(self.pool, self.pace.wall, topics=topics, channels=[*CHANNELS])
        while True:
            await self.free()
            async for page in untaken.pages():
                await self._send(page, producer)
                self._outage.over()
                self._well = self.pace.wall.now()
            await self.pace.wall.sleep(LOOK_EVERY)

    async def _send(self, page: Sequence[StreamEvent], producer: Producer) -> None:
        made = (one for event in page for one in records(event, self.about.prefix))
        await producer.send(made, free=self.free)
        metrics.EVENTS_RELAYED.inc(len(page))


@asynccontextmanager
async def relay_of(
    about: KafkaSettings, *, url: str, pace: Pace, free: Callable[[], Awaitable[None]]
) -> AsyncIterator[Relay]:
    """The relay of a system, which begins once it is run.

    Its commits do not wait for the disk: what a lost machine takes is sent again.

    Args:
        about: the settings.
        url: of the database.
        pace: the system's clocks.
        free: waits while a tick is on its way to subscribers.
    """
    connect = partial(connect_pool, url, size=CONNECTIONS, settings={"synchronous_commit": "off"})
    pool = await patiently(connect, pace.wall)
    try:
        yield Relay(about=about, pool=pool, pace=pace, free=free)
    finally:
        await pool.close()
