"""What becomes due while a panel learns is done afterwards, and not forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from backend import background
from backend.api.status import Market, Status
from backend.learning.fits import FitOrder
from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.observer import Observer
from backend.panel import Panel, PanelKey
from backend.retrains import Retrains
from backend.revisions import Revisions
from backend.store.database import RETRY_EVERY, connect
from backend.store.jobs import Job
from backend.store.pulse import Pulse
from backend.training_settings import TrainingSettings
from backend.wiring import open_store
from domain.market import Timeframe
from services.signals.policy import PolicySettings
from tests.doubles import Impatient, ManualClock
from tests.integration.store_samples import INSTRUMENTS, candles
from tests.integration.test_store_in_trouble import REFUSE
from tests.processes import WITHIN_S

T = TypeVar("T")
H1 = Timeframe.H1


@dataclass
class Workers:
    """Fits that end when the test says so, and never with a model."""

    orders: list[FitOrder] = field(default_factory=list)
    fits: list[Future[Any]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        del work
        fit: Future[T] = Future()
        self.orders.append(arguments[0])
        self.fits.append(fit)
        self.asked.set()
        return fit

    def close(self) -> None: ...

    @property
    def horizons(self) -> list[int]:
        return [order.examples.horizon for order in self.orders]


@dataclass
class Watched:
    """A panel of two horizons with what watches it."""

    panel: Panel
    observer: Observer
    workers: Workers
    held: list[bool]  # what the market's clock was told
    done: asyncio.Event  # with the run that was on its way

    async def tick(self, hour: int) -> None:
        await self.observer.after_tick(candles(hour))
        await turns()


async def turns() -> None:
    """Let tasks go on as far as they can without the outside world."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def watched(
    database_url: str, tmp_path: Path, manual_clock: ManualClock
) -> AsyncIterator[Watched]:
    async with open_store(database_url, tmp_path) as store:
        panel = Panel(
            PanelKey(exchange="binance", timeframe=H1),
            [4, 24],
            clock=manual_clock,
            policy=PolicySettings(),
        )
        workers, told, done = Workers(), list[object](), asyncio.Event()
        held: list[bool] = []

        async def hold(stopped: bool) -> None:  # noqa: FBT001 - the shape of Hold
            held.append(stopped)

        settings = TrainingSettings(kinds=("logistic.direction",))
        learning = Learning(
            panel=panel,
            store=store,
            executor=workers,
            clock=manual_clock,
            wall=manual_clock,
            plan=LearningPlan.of(settings, H1, seed=7),
            emit=told.append,
        )
        revisions = Revisions(
            panel=panel,
            joined=dict.fromkeys(INSTRUMENTS),
            store=store,
            clock=manual_clock,
            wall=manual_clock,
        )
        observer = Observer(
            panel=panel,
            learning=learning,
            told=told,
            publish=lambda _: done.set(),
            clock=manual_clock,
            wall=manual_clock,
            store=store,
            status=Status(market=Market.LIVE),
            hold=hold,
            hold_limit=timedelta(hours=1),
            every_bars=100,
            as_of=None,
            revisions=revisions,
        )
        yield Watched(panel, observer, workers, held, done)
        await observer.close(keep=False)


async def test_a_training_that_is_due_while_another_runs_follows_it(watched: Watched) -> None:
    watched.panel.rooms[4].matured = 10_000
    await watched.tick(1)
    await watched.workers.asked.wait()
    watched.panel.rooms[24].matured = 10_000
    await watched.tick(2)
    during = watched.workers.horizons
    watched.workers.asked.clear()
    watched.workers.fits[0].set_exception(ValueError("too few rows"))
    await watched.done.wait()
    await turns()
    await watched.tick(3)
    await watched.workers.asked.wait()

    assert during == [4]
    assert watched.workers.horizons == [4, 24]
    assert "training binance 1h" in watched.observer.status.progress  # another exchange has its own


async def test_a_clock_that_is_held_for_a_training_goes_on_when_that_is_cut_short(
    watched: Watched,
) -> None:
    watched.panel.rooms[4].matured = 10_000
    await watched.tick(1)
    await watched.workers.asked.wait()
    during = [*watched.held]

    await watched.observer.close(keep=False)

    assert during == [True]
    assert watched.held == [True, False]


async def test_a_training_and_its_job_wait_for_a_database_that_is_away_and_it_is_told(
    watched: Watched,
    database_url: str,
    manual_clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    observer, began = watched.observer, manual_clock.now()
    watched.panel.rooms[4].matured = 10_000
    runner: Any = SimpleNamespace(panel=watched.panel)
    retrains = Retrains(runner, observer, observer.store.runs, wall=Impatient())
    async with away(database_url, "training_runs"):
        await watched.tick(1)
        request = {"horizon": 4}
        job = Job(id="one", kind="retrain", request=request, created_at=began, progress={})
        asked = asyncio.create_task(retrains.do(job, nothing_noted))
        await until(lambda: manual_clock.sleepers > 0)
        troubles = Pulse(manual_clock).troubles()
    manual_clock.advance(RETRY_EVERY)
    await watched.workers.asked.wait()
    later = Pulse(manual_clock).troubles()
    watched.workers.fits[0].set_exception(ValueError("too few rows"))
    await watched.done.wait()
    await watched.tick(2)  # what was asked meanwhile
    await until(lambda: len(watched.workers.fits) > 1)
    watched.workers.fits[1].set_exception(ValueError("too few rows"))
    outcome = await asked

    assert [(one.about, one.since, one.reason) for one in troubles] == [
        ("database", began, "not now")
    ]
    assert later == background.troubles() == []
    assert [one["models"] for one in outcome.result or ()] == [[]]
    assert not [one for one in caplog.records if one.exc_info or "failed" in one.message]


async def until(said: Callable[[], bool]) -> None:
    """What the database is asked meanwhile takes its time."""
    async with asyncio.timeout(WITHIN_S):
        while not said():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def nothing_noted(_: object) -> None: ...


@asynccontextmanager
async def away(url: str, table: str) -> AsyncIterator[None]:
    """As when a database is stopped: rows of a table are refused."""
    admin = await connect(url)
    await admin.execute(REFUSE.format(code="57P01").replace("trading_signals", table))
    yield
    await admin.execute(f"DROP TRIGGER refuse ON {table}")
    await admin.close()


async def test_a_training_that_fails_as_nobody_foresaw_is_told(watched: Watched) -> None:
    async def broken(stopped: bool) -> None:  # noqa: FBT001 - the shape of Hold
        raise KeyError(stopped)

    watched.observer.hold = broken
    watched.panel.rooms[4].matured = 10_000
    await watched.tick(1)
    await turns()
    (told,) = background.troubles()
    await watched.observer.close(keep=False)

    assert told.reason.startswith("the learning of binance|1h failed (KeyError)")
    assert background.troubles() == []  # whoever has the panel next tries
