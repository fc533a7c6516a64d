"""Candles to signals a second: one process over memory, and workers over a real broker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from backend.api.status import Market, Status
from backend.chores import chores
from backend.clock import SystemClock
from backend.runner import Lane
from backend.settings import Settings
from backend.store.candles import store_candles
from backend.store.database import create_database
from backend.store.leases import open_leases
from backend.store.open_panels import announce
from backend.wiring import Store, open_bus, open_store
from domain.events import CandleBatch
from domain.market import Instrument, Listing, Timeframe
from domain.ports import EventBus
from domain.topics import CANDLES
from tests.benchmarks.measure import Row, Size
from tests.factories import candle_batches, candles
from tests.hosts import CountedBus, worker_of
from tests.kafka.broker import Broker, NoBrokerError
from tests.kafka.buses import pace
from tests.processes import command, environment

H1: Final = Timeframe.H1
EXCHANGES: Final = ("bench0", "bench1", "bench2", "bench3")  # a panel each
INSTRUMENTS: Final = 50  # of each
HISTORY: Final = 200
WORKERS: Final = (1, 2, 4)
LOOK_EVERY_S: Final = 0.02
HELD: Final = "SELECT count(*) FROM system_status WHERE starts_with(system, 'panel ')"
ANSWERED: Final = """
SELECT count(*) FROM cross_sections WHERE as_of = $1 AND exchange = ANY($2::text[])
"""


async def candles_to_signals(server: str, folder: Path, size: Size) -> list[Row]:
    """In one process, then by `WORKERS`; nothing where no broker can run."""
    try:
        broker = Broker(folder)
    except NoBrokerError as error:
        sys.stderr.write(f"workers: {error}\n")
        return []
    ticks = 4 * size.store_ticks
    try:
        await asyncio.to_thread(broker.start)
        alone = await _alone(server, folder, ticks)
        return [
            Row(
                name=f"candles to signals by {count} workers over a broker",
                value=await _apart(server, folder, broker.address, ticks, count),
                unit="candles/s",
                baseline=alone,
                baseline_name="the same rooms over memory",
                detail={"panels": len(EXCHANGES), "instruments": INSTRUMENTS, "ticks": ticks},
            )
            for count in WORKERS
        ]
    finally:
        broker.kill()


class History:
    """A history up to this hour, and ticks from it on."""

    def __init__(self, ticks: int) -> None:
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self.start = now - HISTORY * H1.duration
        self.members = {
            exchange: [Instrument(exchange, f"C{n:03}/USDT") for n in range(INSTRUMENTS)]
            for exchange in EXCHANGES
        }
        self.ticks = {
            exchange: candle_batches(members, HISTORY + ticks, start=self.start)[HISTORY:]
            for exchange, members in self.members.items()
        }
        self.last = self.ticks[EXCHANGES[0]][-1].as_of

    async def store(self, store: Store) -> None:
        for exchange, members in self.members.items():
            listings = [Listing(instrument=one) for one in members]
            await store.instruments.watch(listings, since=self.start)
            past = [
                one
                for seed, member in enumerate(members)
                for one in candles(HISTORY, seed=seed, instrument=member, start=self.start)
            ]
            await store_candles(
                store.writers, store.instruments, past, known_at=SystemClock().now()
            )
            opening = (await announce(store.writers, exchange, [H1]))[H1]
            self.ticks[exchange] = [replace(one, opening=opening) for one in self.ticks[exchange]]

    async def play(self, bus: EventBus, store: Store) -> float:
        """Publish every tick; candles a second, until the last is answered.

        The first says that every panel has caught up with its history, and is not counted.
        """
        first, *rows = zip(*self.ticks.values(), strict=True)
        await _publish(bus, [first])
        await _answered(store, first[0].as_of)
        began = time.perf_counter()
        publishing = asyncio.create_task(_publish(bus, rows))
        await _answered(store, self.last)
        took = time.perf_counter() - began
        await publishing
        return len(rows) * len(EXCHANGES) * INSTRUMENTS / took


async def _answered(store: Store, as_of: datetime) -> None:
    asked = (ANSWERED, as_of, list(EXCHANGES))
    while await store.readers.fetchval(*asked) < len(EXCHANGES):  # noqa: ASYNC110 - others'
        await asyncio.sleep(LOOK_EVERY_S)


async def _publish(bus: EventBus, rows: Sequence[tuple[CandleBatch, ...]]) -> None:
    for batch in (batch for row in rows for batch in row):
        await bus.publish(CANDLES, batch)


@asynccontextmanager
async def stored(server: str, folder: Path, market: History) -> AsyncIterator[Store]:
    url = await create_database(server, f"bench_{uuid.uuid4().hex[:8]}")
    async with open_store(url, folder) as store:
        await market.store(store)
        yield store


async def held(store: Store) -> None:
    while await store.readers.fetchval(HELD) < len(EXCHANGES):  # noqa: ASYNC110 - other processes'
        await asyncio.sleep(LOOK_EVERY_S)


async def _alone(server: str, folder: Path, ticks: int) -> float:
    market, bus = History(ticks), CountedBus()
    async with (
        stored(server, folder, market) as store,
        open_leases(store.url, "one") as leases,
        worker_of(store, leases, bus, SystemClock()) as worker,
    ):
        lane = Lane()
        beside = chores(Settings(), store, pace(), lane.free, Status(market=Market.RECORDED))
        tasks = [asyncio.create_task(one) for one in (worker.run(), *beside)]
        await held(store)
        while bus.followers < len(EXCHANGES):  # noqa: ASYNC110 - of panels that open
            await asyncio.sleep(LOOK_EVERY_S)
        rate = await market.play(bus, store)
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return rate


async def _apart(server: str, folder: Path, broker: str, ticks: int, workers: int) -> float:
    market = History(ticks)
    about = {
        "ALPHAPULSE_BUS_URL": f"kafka://{broker}",
        "ALPHAPULSE_KAFKA__PREFIX": f"bench{workers}",
    }
    async with stored(server, folder, market) as store:
        settings = Settings(
            bus_url=about["ALPHAPULSE_BUS_URL"], kafka={"prefix": f"bench{workers}"}
        )
        async with open_bus(settings, pace()) as bus:
            with processes(folder, workers, {**about, "ALPHAPULSE_DATABASE_URL": store.url}):
                await held(store)
                return await market.play(bus, store)


@contextmanager
def processes(folder: Path, count: int, variables: dict[str, str]) -> Iterator[None]:
    flags = ("run", "--rooms", "panels", "--port", "0", "--state", str(folder / "state"))
    started = [
        subprocess.Popen(  # noqa: S603 - our own program
            command(*flags),
            env=environment(**variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for one in started:
            os.killpg(one.pid, 9)
            one.wait()
