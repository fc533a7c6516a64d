"""A record whose events are put on a broker, and what a program downstream sees of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import numpy as np
from aiokafka import ConsumerRecord

from backend.bus.relay import Relay, relay_of
from backend.clock import SystemClock
from backend.setting_tables import KafkaSettings
from backend.store.database import connect_pool
from backend.store.instruments import Instruments
from backend.store.recorder import Recorder
from backend.store.stream_log import StreamEvent
from collectors.pacing import Pace
from tests.integration.store_samples import at, predictions, signals
from tests.kafka.records import WITHIN_S, read_until

INSTRUMENTS = 3  # of each tick
LOOK_EVERY_S = 0.02
_UNTAKEN = """
SELECT count(*) FROM stream_heads AS head LEFT JOIN relay_cursors AS taken USING (log)
WHERE split_part(log, '.', 1) IN ('predictions', 'signals')
AND taken.block IS DISTINCT FROM head.block
"""


async def nobody() -> None:
    """No tick is on its way."""


@dataclass(slots=True)
class Relayed:
    """A database of a test's own, whose logs have epochs of their own: they name its records."""

    url: str
    pool: asyncpg.Pool
    recorder: Recorder

    async def ticks(self, *numbers: int) -> None:
        """Three predictions and three signals of each are committed."""
        for tick in numbers:
            batches = [predictions(tick), signals(tick)]
            await self.recorder.commit_tick(batches, published_at=at(tick))

    @asynccontextmanager
    async def relaying(self, address: str, **more: Any) -> AsyncIterator[Relay]:
        """While a system with this broker runs."""
        clock = SystemClock()
        pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
        about = KafkaSettings(brokers=(address,), **more)
        async with relay_of(about, url=self.url, pace=pace, free=nobody) as relay:
            running = asyncio.create_task(relay.run())
            try:
                yield relay
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def noted(self) -> None:
        """Until all that was committed is taken, and that is in the database."""
        async with asyncio.timeout(WITHIN_S):
            while await self.pool.fetchval(_UNTAKEN):  # noqa: ASYNC110 - of another task
                await asyncio.sleep(LOOK_EVERY_S)

    async def epochs(self) -> set[bytes]:
        """Of its logs."""
        return {
            row["epoch"].encode() for row in await self.pool.fetch("SELECT * FROM stream_heads")
        }

    async def read(self, address: str, topic: str, ticks: int) -> list[ConsumerRecord]:
        """Its records of a topic, repetitions included, until the events of so many ticks came."""
        ours = await self.epochs()
        found = await read_until(
            address, topic, lambda some: len(set(_of(some, ours))) == INSTRUMENTS * ticks
        )
        return [one for one in found if dict(one.headers)["epoch"] in ours]


def _of(found: list[ConsumerRecord], epochs: set[bytes]) -> Iterator[bytes]:
    for one in found:
        headers = dict(one.headers)
        if headers["epoch"] in epochs:
            yield headers["ce_id"]


def event_of(record: ConsumerRecord) -> StreamEvent:
    """What a record says of its event."""
    told = {name: value.decode() for name, value in record.headers}
    return StreamEvent(
        stream=told["ce_subject"],
        epoch=told["epoch"],
        offset=int(told["offset"]),
        event=told["event"],
        as_of=datetime.fromisoformat(told["as_of"]),
        published_at=datetime.fromisoformat(told["ce_time"]),
        payload=record.value,
        hash=bytes.fromhex(told["hash"]),
        previous_hash=bytes.fromhex(told["previous_hash"]),
    )


def once(found: list[ConsumerRecord]) -> list[StreamEvent]:
    """As a reader that leaves out what it has, by stream and offset."""
    events: dict[tuple[str, int], StreamEvent] = {}
    for one in map(event_of, found):
        events.setdefault((one.stream, one.offset), one)
    return list(events.values())


@asynccontextmanager
async def relayed(database_url: str) -> AsyncIterator[Relayed]:
    pool = await connect_pool(database_url, size=2)
    try:
        recorder = Recorder(pool, Instruments(pool))
        yield Relayed(database_url, pool, recorder)
    finally:
        await pool.close()
