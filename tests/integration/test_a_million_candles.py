"""A million candles through a worker, and over a broker: what it holds stays, its lag ends."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from backend.bus.broker import prepare, tick_topics
from backend.bus.envelope import partition_of
from backend.bus.kafka import kafka_bus
from backend.store.candles import store_candles
from backend.store.chain import verify
from backend.store.leases import open_leases
from backend.store.open_panels import announce
from backend.wiring import Store, open_store
from domain.events import CandleBatch
from domain.market import Instrument, Listing, Timeframe
from domain.ports import EventBus
from domain.topics import CANDLES, panel_key
from tests.doubles import START, ManualClock
from tests.factories import candle_batches, candles
from tests.hosts import CountedBus, worker_of
from tests.kafka.buses import about, pace

M1 = Timeframe.M1
INSTRUMENTS, HISTORY, TICKS = 500, 60, 2_000
BURST = 100  # ticks at full speed; then all is to be answered, and memory is looked at
ALLOWED_MB = 1.0  # from one half to the other: a thousand ticks of 1 KB each
ANSWERED = """
SELECT count(*) FROM ml_predictions WHERE role = 'champion' AND as_of > $1
"""
BLOCK = 64  # bytes: about what one of Python's takes
WITHIN_S = 300.0  # for a burst
LOOK_S = 0.05
STORED = "SELECT count(*) FROM cross_sections WHERE as_of > $1"

Lag = Callable[[int], Awaitable[int]]  # of ticks, of so many published


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path, durable=False) as opened:
        yield opened


@pytest.fixture(params=["memory", "broker"])
def address(request: pytest.FixtureRequest) -> str | None:
    """Of the broker that ticks go by; None: they stay in the process."""
    return str(request.getfixturevalue("kafka")) if request.param == "broker" else None


@pytest.mark.soak
async def test_a_million_candles_leave_memory_and_lag_as_they_were(
    database_url: str, store: Store, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHAPULSE_TRAINING__MINIMUM_ROWS", "1000000000")
    members = [Instrument("simulated", f"C{n:03}/USDT") for n in range(INSTRUMENTS)]
    clock = ManualClock(START + HISTORY * M1.duration + timedelta(seconds=1))
    await store.instruments.watch([Listing(instrument=one) for one in members], since=START)
    for seed, one in enumerate(members):
        past = candles(HISTORY, seed=seed, instrument=one, timeframe=M1)
        await store_candles(store.writers, store.instruments, past, known_at=clock.now())
    opening = (await announce(store.writers, "simulated", [M1]))[M1]
    first = START + HISTORY * M1.duration
    held = list[float]()
    async with (
        open_leases(database_url, "one") as leases,
        road(address, partial(stored, store, first)) as (bus, lag),
        worker_of(store, leases, bus, clock) as worker,
    ):
        working = asyncio.create_task(worker.run())
        while isinstance(bus, CountedBus) and not bus.followers:  # noqa: ASYNC110 - the worker's
            await asyncio.sleep(LOOK_S)
        ticks = candle_batches(members, TICKS, timeframe=M1, start=first, seed=7)
        for number, tick in enumerate(ticks, start=1):
            clock.advance(M1.duration)
            told = replace(owned(tick), opening=opening, known_at=clock.now())
            await bus.publish(CANDLES, told)
            if number % BURST == 0:
                await until(partial(lag, number), working)
                assert await stored(store, first) == number
                held.append(live_mb())
        await until(partial(unanswered, store, first), working)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    half = len(held) // 2

    # Of the most in each half: within the process 9 MB are let go of and taken again now and then.
    assert max(held[half:]) - max(held[:half]) < ALLOWED_MB, held
    async with store.readers.acquire() as connection:
        assert await verify(connection) is None


def owned(tick: CandleBatch) -> CandleBatch:
    """With arrays that nobody else holds: who keeps it keeps them."""
    return replace(
        tick,
        open=tick.open.copy(),
        high=tick.high.copy(),
        low=tick.low.copy(),
        close=tick.close.copy(),
        volume=tick.volume.copy(),
    )


async def until(left: Callable[[], Awaitable[int]], working: asyncio.Task[None]) -> None:
    """Until nothing is left to do for who works."""
    async with asyncio.timeout(WITHIN_S):
        while await left():
            assert not working.done()
            await asyncio.sleep(LOOK_S)


async def stored(store: Store, since: datetime) -> int:
    """Ticks."""
    return int(await store.readers.fetchval(STORED, since))


async def unanswered(store: Store, since: datetime) -> int:
    """Candles."""
    return INSTRUMENTS * TICKS - int(await store.readers.fetchval(ANSWERED, since))


@asynccontextmanager
async def road(
    address: str | None, stored: Callable[[], Awaitable[int]]
) -> AsyncIterator[tuple[EventBus, Lag]]:
    """From who publishes to who works, and how many ticks are on it.

    Of a broker those that the group has not acknowledged, else those that are not stored.
    """
    if address is None:

        async def waiting(published: int) -> int:
            return published - await stored()

        yield CountedBus(), waiting
        return
    settings, key = about(address), panel_key("simulated", M1)
    group = f"{settings.prefix}.{key}"
    await prepare(settings, tick_topics)
    async with (
        kafka_bus(settings, pace()) as bus,
        AIOKafkaConsumer(
            bootstrap_servers=address, group_id=group, enable_auto_commit=False
        ) as reader,
    ):
        place = TopicPartition(CANDLES.wire_name(settings.prefix), partition_of(key))

        async def outstanding(published: int) -> int:
            assert (await reader.end_offsets([place]))[place] == published
            return published - (await reader.committed(place) or 0)

        yield bus, outstanding


class _Malloc(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def live_mb() -> float:
    """What this process holds: not what it has given back and the system has not taken.

    Arrays and what else lies beyond Python's own blocks by what malloc says, blocks by their count.
    """
    gc.collect()
    mallinfo2 = ctypes.CDLL("libc.so.6").mallinfo2
    mallinfo2.restype = _Malloc
    told: _Malloc = mallinfo2()
    held: int = told.uordblks + told.hblkhd + sys.getallocatedblocks() * BLOCK
    return held / 2**20
