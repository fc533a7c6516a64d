"""Workers share the panels of a database: whoever joins, leaves or dies, each tick is made once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backend.learning.fits import fit_from_store
from backend.settings import Settings
from backend.store.candles import store_candles
from backend.store.chain import verify
from backend.store.leases import Leases, open_leases
from backend.store.open_panels import announce
from backend.store.system_status import hear
from backend.wiring import Store, open_store
from collectors.cross_section import CrossSection
from domain.errors import StoreUnavailableError
from domain.market import Instrument, Listing, Timeframe
from domain.topics import CANDLES
from tests.doubles import START, ManualClock
from tests.factories import candles
from tests.hosts import HORIZON, CountedBus, worker_of
from tests.integration.test_training_cut_short import fitted
from tests.processes import WITHIN_S

T = TypeVar("T")
HISTORY, TICKS = 60, 6
EXCHANGES = ("binance", "kraken")
NAMES = ("AAA/USDT", "BBB/USDT")
H1 = Timeframe.H1
SERVED = """
SELECT exchange, as_of, count(*) AS rows, count(DISTINCT (symbol, revision)) AS different
FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE role = 'champion' AND as_of > $1 GROUP BY exchange, as_of ORDER BY as_of, exchange
"""
HORIZONS = """
SELECT horizon, count(*) AS rows FROM ml_predictions
WHERE role = 'champion' AND as_of = $1 GROUP BY horizon ORDER BY horizon
"""
HOLDERS = "SELECT name, holder, generation FROM leases ORDER BY name"
TAKE = "UPDATE leases SET generation = generation + 1 WHERE name = $1"
VERSIONS = "SELECT exchange, version FROM ml_models_metadata ORDER BY exchange, version"
LEFT = "SELECT count(*) FROM training_runs WHERE finished_at IS NULL"
LEARNING = {"kinds": ["logistic.direction"], "online": [], "minimum_rows": 1}


@dataclass(kw_only=True)
class Process:
    """What one worker has for itself."""

    store: Store
    leases: Leases
    task: asyncio.Task[None]


class HeldFits:
    """Fits that end when a test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Future[Any], Any]] = []

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        future = Future[Any]()
        if work is fit_from_store:
            self.asked.append((future, arguments[0]))
        else:  # a look for drift, which finds none
            future.set_result([])
        return future

    def end(self) -> None:
        """Of all that were asked for."""
        for future, order in self.asked:
            future.set_result(fitted()[order.recipe.name, order.split])
        self.asked.clear()

    def close(self) -> None: ...


class Workers:
    """Workers over one database and one bus, and the ticks that they are given."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.bus = url, folder, CountedBus()
        self.clock = ManualClock(START + HISTORY * H1.duration + timedelta(seconds=1))
        self.series = {
            Instrument(exchange, name): candles(
                HISTORY + TICKS, seed=seed, instrument=Instrument(exchange, name)
            )
            for exchange in EXCHANGES
            for seed, name in enumerate(NAMES)
        }
        self.told = 0
        self.openings: dict[str, int] = {}

    async def open(self, store: Store) -> None:
        """Store the history, as those who collect do."""
        await store.instruments.watch([Listing(instrument=one) for one in self.series], since=START)
        past = [one for series in self.series.values() for one in series[:HISTORY]]
        await store_candles(store.writers, store.instruments, past, known_at=self.clock.now())
        await self.announce(store)

    async def announce(self, store: Store) -> None:
        for exchange in EXCHANGES:
            self.openings[exchange] = (await announce(store.writers, exchange, [H1]))[H1]

    @asynccontextmanager
    async def process(
        self, name: str, horizons: tuple[int, ...] = (HORIZON,), **more: Any
    ) -> AsyncIterator[Process]:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(self.url, self.folder))
            leases = await stack.enter_async_context(open_leases(self.url, name))
            running = worker_of(store, leases, self.bus, self.clock, horizons, **more)
            worker = await stack.enter_async_context(running)
            task = asyncio.create_task(worker.run())
            bell = asyncio.create_task(worker.host.bell.run())
            try:
                yield Process(store=store, leases=leases, task=task)
            finally:
                task.cancel(), bell.cancel()
                await asyncio.gather(task, bell, return_exceptions=True)

    async def miss(self, store: Store) -> None:
        """A close that nobody collected live: history has it when those who collect begin again."""
        place = self._next()
        past = [series[place] for series in self.series.values()]
        await store_candles(store.writers, store.instruments, past, known_at=self.clock.now())

    def _next(self) -> int:
        place = HISTORY + self.told
        self.told += 1
        self.clock.advance(H1.duration)
        return place

    async def tick(self, *only: str) -> None:
        """The next close of each exchange, or of some."""
        place = self._next()
        for exchange in only or EXCHANGES:
            members = [one for one in self.series if one.exchange == exchange]
            section = CrossSection(exchange=exchange, timeframe=H1, instruments=members)
            for one in members:
                for batch in section.add(self.series[one][place], arrived=self.clock.now()):
                    told = replace(batch.came_at(self.clock.now()), opening=self.openings[exchange])
                    await self.bus.publish(CANDLES, told)


async def until(holds: Callable[[], object], what: str) -> None:
    """Wait for what several processes come to."""
    async with asyncio.timeout(2 * WITHIN_S):
        while not await holds():  # type: ignore[misc]  # noqa: ASYNC110 - other processes'
            await asyncio.sleep(0.02)


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


async def test_panels_move_between_workers_and_each_tick_is_made_once(
    database_url: str, store: Store, tmp_path: Path
) -> None:
    workers = Workers(database_url, tmp_path)
    await workers.open(store)

    async def held(*holders: str) -> bool:
        rows = await store.readers.fetch(HOLDERS)
        return len(rows) == 2 and {row["holder"] for row in rows} == {*holders}

    async def made() -> bool:
        rows = await store.readers.fetch(SERVED, START + HISTORY * H1.duration)
        return len(rows) == workers.told * len(EXCHANGES)

    async def followed(count: int) -> bool:
        return workers.bus.followers == count

    async with workers.process("one") as one:
        await until(lambda: held("one"), "one worker with both panels")
        await until(lambda: followed(2), "both panels at their ticks")
        await workers.tick()
        await until(made, "the first tick")
        async with workers.process("two") as two:
            await until(lambda: held("one", "two"), "a panel for each")
            await until(lambda: followed(2), "both panels at their ticks")
            await workers.tick()
            await until(made, "the second tick")
            await store.writers.execute("SELECT pg_terminate_backend($1)", one.leases.pid)
            await until(lambda: held("two"), "both panels with the second")
            with pytest.raises(ExceptionGroup) as lost:
                await one.task  # what it followed in memory is gone with it
            await until(lambda: followed(2), "both panels at their ticks")
            await workers.tick()
            await until(made, "the third tick")
            assert not two.task.done()

    rows = await store.readers.fetch(SERVED, START + HISTORY * H1.duration)
    heard = await hear(store.readers)
    assert [one.system for one in heard] == ["panel binance|1h", "panel kraken|1h"]
    assert lost.group_contains(StoreUnavailableError)
    assert [(row["rows"], row["different"]) for row in rows] == [(len(NAMES),) * 2] * 6
    async with store.readers.acquire() as connection:
        assert await verify(connection) is None


async def test_what_is_fitted_while_the_panel_is_lost_is_decided_by_whoever_has_it_next(
    database_url: str, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workers, fits, lost = Workers(database_url, tmp_path), HeldFits(), "panel binance|1h"
    await workers.open(store)

    async def followed() -> bool:
        return workers.bus.followers == len(EXCHANGES)

    async def asked() -> bool:
        return bool(fits.asked)

    async def both_asked() -> bool:
        return len(fits.asked) == len(EXCHANGES)

    async def versions(*exchanges: str) -> bool:
        rows = await store.readers.fetch(VERSIONS)
        return [tuple(row) for row in rows] == [(name, 1) for name in exchanges]

    async def taken_again() -> bool:
        rows = {row["name"]: row["generation"] for row in await store.readers.fetch(HOLDERS)}
        return int(rows[lost]) == 3

    async def all_ended() -> bool:
        return not await store.readers.fetchval(LEFT)

    learning = Settings(training=LEARNING)
    async with workers.process("one", settings=learning, fits=fits):
        await until(followed, "both panels at their ticks")
        await workers.tick()
        await until(both_asked, "a fit for each panel")
        await store.writers.execute(TAKE, lost)
        fits.end()
        await until(taken_again, "that it is left, and taken")
        await until(followed, "both panels at their ticks again")
        await until(lambda: versions("kraken"), "what the other panel decided")
        await workers.tick("binance")
        await until(asked, "the fit of the training that was cut short")
        assert len(fits.asked) == 1
        fits.end()
        await until(lambda: versions("binance", "kraken"), "what the next one decided")
        await until(all_ended, "the end of both trainings")

    assert caplog.messages.count(f"{lost} is left to whoever takes it now") == 1
    assert "a training failed; what serves goes on" not in caplog.messages


async def test_a_panel_whose_history_was_fetched_anew_answers_what_was_missed(
    database_url: str, store: Store, tmp_path: Path
) -> None:
    workers = Workers(database_url, tmp_path)
    await workers.open(store)

    async def made() -> bool:
        rows = await store.readers.fetch(SERVED, START + HISTORY * H1.duration)
        return len(rows) == workers.told * len(EXCHANGES)

    async def followed() -> bool:
        return workers.bus.followers == len(EXCHANGES)

    async def anew() -> bool:
        return {row["generation"] for row in await store.readers.fetch(HOLDERS)} == {2}

    async with workers.process("one"):
        await until(followed, "both panels at their ticks")
        await workers.tick()
        await until(made, "the first tick")
        before = dict(workers.openings)
        await workers.miss(store)
        await workers.announce(store)
        await until(anew, "both panels anew")
        await until(followed, "both panels at their ticks again")
        await workers.tick()
        await until(made, "what was missed, and the tick after it")
        rows = await store.readers.fetch(SERVED, START + HISTORY * H1.duration)

    assert all(workers.openings[name] > before[name] for name in EXCHANGES)
    assert [row["as_of"] for row in rows][::2] == [
        START + (HISTORY + 1 + number) * H1.duration for number in range(3)
    ]


async def test_a_horizon_that_is_new_begins_with_the_history(
    database_url: str, store: Store, tmp_path: Path
) -> None:
    workers = Workers(database_url, tmp_path)
    await workers.open(store)

    async def followed() -> bool:
        return workers.bus.followers == len(EXCHANGES)

    async def made() -> bool:
        found = await store.readers.fetch(HORIZONS, START + (HISTORY + workers.told) * H1.duration)
        return [row["rows"] for row in found] == [len(workers.series)] * len(asked)

    asked: tuple[int, ...] = (HORIZON,)
    for asked in ((HORIZON,), (HORIZON, 5)):
        async with workers.process("one", asked):
            await until(followed, "both panels at their ticks")
            await workers.tick()
            await until(made, "a row for each horizon")
    old = await store.readers.fetch(SERVED, START + HISTORY * H1.duration)

    assert {row["rows"] for row in old} == {2 * len(NAMES)}  # the history of both
