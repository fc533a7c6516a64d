"""A million candles through a worker at full speed: what it holds does not grow, nor its lag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

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
ALLOWED_MB = 40.0  # from the middle to the end: what a thousand ticks may leave behind
ANSWERED = """
SELECT count(*) FROM ml_predictions WHERE role = 'champion' AND as_of > $1
"""


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
    bus, held = CountedBus(), list[float]()
    async with (
        open_leases(database_url, "one") as leases,
        worker_of(store, leases, bus, clock) as worker,
    ):
        working = asyncio.create_task(worker.run())
        while not bus.followers:  # noqa: ASYNC110 - the worker's
            await asyncio.sleep(0.05)
        ticks = candle_batches(
            members, TICKS, timeframe=M1, start=START + HISTORY * M1.duration, seed=7
        )
        for number, tick in enumerate(ticks):
            clock.advance(M1.duration)
            await bus.publish(CANDLES, replace(tick, opening=opening, known_at=clock.now()))
            if number % LOOK_EVERY == 0:
                held.append(resident_mb())
        while await _count(store) < INSTRUMENTS * TICKS:
            assert not working.done()
            await asyncio.sleep(1)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    middle, last = np.median(held[8:12]), np.median(held[-4:])

    assert last - middle < ALLOWED_MB, held
    async with store.readers.acquire() as connection:
        assert await verify(connection) is None


async def _count(store: Store) -> int:
    found: int = await store.readers.fetchval(ANSWERED, START + HISTORY * M1.duration)
    return found


def resident_mb() -> float:
    """Of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")
