"""How many events a second go from the stream log to a real broker, beside its producer alone."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import asyncpg
import numpy as np
import orjson

from backend.bus.broker import event_topics, prepare, producing
from backend.bus.records import Record, records
from backend.bus.relay import relay_of
from backend.clock import SystemClock
from backend.setting_tables import KafkaSettings
from backend.store.stream_log import Drafts, StreamEvent, StreamLog
from collectors.pacing import Pace
from tests.benchmarks.market import EXCHANGE
from tests.benchmarks.measure import Row, Size
from tests.benchmarks.serving import served
from tests.doubles import START
from tests.kafka.broker import Broker, NoBrokerError
from tests.kafka.relayed import nobody

STREAMS: Final = 500
EVENT_BYTES: Final = 1_024
PAGE: Final = 1_000  # records that the bare producer sends at a time, as the relay does
TARGET: Final = 7_153.0  # records of 1 KiB a second, at the bus
CURSORS: Final = "SELECT coalesce(sum(block), 0) FROM relay_cursors"
LOOK_EVERY_S: Final = 0.01


async def from_log_to_broker(server: str, folder: Path, size: Size) -> list[Row]:
    """Events a second of the relay and of the producer alone; nothing where no broker can run."""
    try:
        broker = Broker(folder)
    except NoBrokerError as error:
        sys.stderr.write(f"relay: {error}\n")
        return []
    blocks = 10 * size.store_ticks
    try:
        await asyncio.to_thread(broker.start)
        about = KafkaSettings(brokers=(broker.address,))
        async with served(server, folder) as behind:
            events = await _fill(behind.store.writers, blocks)
            bare = await _bare(
                about, [one for event in events for one in records(event, about.prefix)]
            )
            async with _relaying(about, behind.store.url):
                began = time.perf_counter()
                while await behind.store.readers.fetchval(CURSORS) < blocks:  # noqa: ASYNC110 - of another
                    await asyncio.sleep(LOOK_EVERY_S)
                took = time.perf_counter() - began
    finally:
        broker.kill()
    return [
        Row(
            name="events of 1 KiB from the stream log to a broker",
            value=len(events) / took,
            unit="events/s",
            target=TARGET,
            most=False,
            baseline=bare,
            baseline_name="the producer alone",
            detail={"events": len(events), "streams": STREAMS},
        )
    ]


async def _fill(pool: asyncpg.Pool, blocks: int) -> list[StreamEvent]:
    """A log of so many blocks, with an event of each stream in each."""
    streams = [f"predictions.1h.{EXCHANGE}.C{number:03}/USDT" for number in range(STREAMS)]
    rng, stream_log, events = np.random.default_rng(7), StreamLog(), []
    async with pool.acquire() as connection:
        await stream_log.open(connection, [streams])
        for block in range(blocks):
            moment = START + timedelta(hours=block)
            payloads = [_payload(rng) for _ in streams]
            extension = stream_log.extend(moment)
            extension.add(Drafts("prediction", moment, streams, payloads))
            async with connection.transaction():
                await extension.write(connection)
            stream_log.remember(extension)
            events += extension.events
    return events


def _payload(rng: np.random.Generator) -> bytes:
    """Numbers, as predictions have them, and so as hard to compress."""
    told = orjson.dumps({"horizon": 4, "values": rng.normal(size=EVENT_BYTES // 20).tolist()})
    return told[:-1] + b" " * (EVENT_BYTES - len(told)) + told[-1:]


async def _bare(about: KafkaSettings, made: Sequence[Record]) -> float:
    """Records a second of the producer, page by page, as the relay does."""
    await prepare(about, event_topics)
    async with producing(about) as producer:
        await producer.send(made[:PAGE], free=nobody)  # it learns where partitions are
        began = time.perf_counter()
        for start in range(0, len(made), PAGE):
            await producer.send(made[start : start + PAGE], free=nobody)
        return len(made) / (time.perf_counter() - began)


@asynccontextmanager
async def _relaying(about: KafkaSettings, url: str) -> AsyncIterator[None]:
    clock = SystemClock()
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    async with relay_of(about, url=url, pace=pace, free=nobody) as relay:
        running = asyncio.create_task(relay.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
