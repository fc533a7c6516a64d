"""A million candles through a worker at full speed: what it holds does not grow, nor its lag."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from backend.bus.memory import CAPACITY
from backend.store.candles import store_candles
from backend.store.chain import verify
from backend.store.leases import open_leases
from backend.store.open_panels import announce
from backend.wiring import Store, open_store
from domain.market import Instrument, Listing, Timeframe
from domain.topics import CANDLES
from tests.doubles import START, ManualClock
from tests.factories import candle_batches, candles
from tests.hosts import CountedBus, worker_of

M1 = Timeframe.M1
INSTRUMENTS, HISTORY, TICKS = 500, 60, 2_000
LOOK_EVERY = 100  # ticks
ALLOWED_MB = 4.0  # from the middle to the end: a thousand ticks of 25 KB each
ANSWERED = """
SELECT count(*) FROM ml_predictions WHERE role = 'champion' AND as_of > $1
"""
BLOCK = 64  # bytes: about what one of Python's takes
UNDER_WAY = 2  # ticks: one with the worker, one that waits to be put
BEHIND = "SELECT count(*) FROM cross_sections WHERE as_of > $1"


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path, durable=False) as opened:
        yield opened


@pytest.mark.soak
async def test_a_million_candles_leave_memory_and_lag_as_they_were(
    database_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
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
    bus, held, behind = CountedBus(), list[float](), list[int]()
    async with (
        open_leases(database_url, "one") as leases,
        worker_of(store, leases, bus, clock) as worker,
    ):
        working = asyncio.create_task(worker.run())
        while not bus.followers:  # noqa: ASYNC110 - the worker's
            await asyncio.sleep(0.05)
        ticks = candle_batches(members, TICKS, timeframe=M1, start=first, seed=7)
        for number, tick in enumerate(ticks):
            clock.advance(M1.duration)
            await bus.publish(CANDLES, replace(tick, opening=opening, known_at=clock.now()))
            if number % LOOK_EVERY == 0:
                held.append(live_mb())
                behind.append(number + 1 - await store.readers.fetchval(BEHIND, first))
        while await store.readers.fetchval(ANSWERED, first) < INSTRUMENTS * TICKS:
            assert not working.done()
            await asyncio.sleep(1)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    middle, last = np.median(held[8:12]), np.median(held[-4:])

    assert last - middle < ALLOWED_MB, held
    assert max(behind) <= CAPACITY + UNDER_WAY, behind
    async with store.readers.acquire() as connection:
        assert await verify(connection) is None


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
