"""A training that is cut short anywhere is gone on with, and ends as one that was not."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from alphapulse_testing.panel import HORIZON, HOUR_MS, MODEL_COLUMNS, panel_examples
from backend.learning.fits import fit_from_store
from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.learning.seats import Emit
from backend.panel import Panel, PanelKey
from backend.store.database import create_database, drop_database
from backend.store.leases import open_leases
from backend.store.registry import Registry
from backend.store.runs import Runs
from backend.training_settings import TrainingSettings
from backend.wiring import Store, open_store
from domain.errors import LeaseLostError
from domain.market import Timeframe
from domain.ports import Clock, Executor
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitResult, FitTask, fit
from services.models.walk_forward import SplitKind
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.integration.store_samples import at
from tests.processes import FORKED, until

T = TypeVar("T")
H1 = Timeframe.H1
TICKS = 900
FIRST, SECOND = at(TICKS), at(TICKS + 24 * 30)
PANEL = "panel binance|1h"
REFUSED = 7  # exit code of our own
KINDS = ("logistic.direction", "lightgbm.volatility")
STATEMENTS = 200  # of two trainings, at most
VERSIONS = """
SELECT name, version, created_at, effective_from, artifact_sha256, parent_version
FROM ml_models_metadata ORDER BY name, version
"""
ALIASES = "SELECT name, alias, version, set_at FROM model_aliases ORDER BY name, alias"
DECISIONS = """
SELECT name, champion_version, challenger_version, verdict, trigger, decided_at, evidence
FROM promotion_decisions ORDER BY decided_at, name, id
"""
RUNS = "SELECT as_of, reason, finished_at IS NOT NULL FROM training_runs ORDER BY as_of"


Fits = Mapping[tuple[str, SplitKind], FitResult]


@cache
def fitted() -> Fits:
    """Every fit that is asked for."""
    splits = (SplitKind.LEAN, SplitKind.REFRESH)
    return {(name, split): _fitted(name, split) for name in KINDS for split in splits}


def _fitted(name: str, split: SplitKind) -> FitResult:
    task = FitTask(
        recipe=BUILT_IN.recipes[name].changed(trees=10, min_child=5.0),
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=panel_examples(TICKS),
        split=split,
        seed=7,
    )
    return fit(task)


@dataclass
class Workers:
    """Fits of what was prepared; workers die as often as the test says."""

    fits: Fits
    deaths: int = 0
    ordered: list[str] = field(default_factory=list)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        order, future = arguments[0], Future[Any]()
        if work is not fit_from_store:  # a look for drift, which finds none
            future.set_result([])
            return future
        self.ordered.append(order.recipe.name)
        if self.deaths:
            self.deaths -= 1
            future.set_exception(BrokenProcessPool("a worker died"))
        else:
            future.set_result(self.fits[order.recipe.name, order.split])
        return future

    def close(self) -> None: ...


def learning_of(
    store: Store,
    workers: Executor,
    wall: Clock | None = None,
    emit: Emit = lambda _: None,
) -> Learning:
    clock = ManualClock()
    panel = Panel(
        PanelKey(exchange="binance", timeframe=H1), [HORIZON], clock=clock, policy=PolicySettings()
    )
    return Learning(
        panel=panel,
        store=store,
        executor=workers,
        clock=clock,
        wall=wall or clock,
        plan=LearningPlan.of(TrainingSettings(kinds=KINDS), H1, seed=7),
        emit=emit,
    )


@dataclass
class Pausing(Workers):
    """The process that asks for a fit is stopped, as when its machine is, and goes on later."""

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        if not self.ordered:
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().submit(work, *arguments)


async def train_twice(store: Store, workers: Workers) -> Learning:
    """The first training and the next; what was done by an earlier life is not done again."""
    learning = learning_of(store, workers)
    await learning.restore()
    await learn_twice(learning)
    return learning


async def learn_twice(learning: Learning) -> None:
    learning.panel.rooms[HORIZON].matured = 10_000
    for moment in (FIRST, SECOND):
        await learning.run(learning.due(moment))


async def count(store: Store, kill_after: int) -> None:
    """Have this process killed by so many statements."""
    left = itertools.count(kill_after - 1, -1)

    def counted(_: object) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    connections = [await store.writers.acquire() for _ in range(store.writers.get_max_size())]
    for connection in connections:
        connection.add_query_logger(counted)
    for connection in connections:
        await store.writers.release(connection)


def live(url: str, folder: Path, fits: Fits, kill_after: int) -> None:
    async def one_life() -> None:
        async with open_store(url, folder) as store:
            if kill_after:
                await count(store, kill_after)
            await train_twice(store, Workers(fits))

    asyncio.run(one_life())


async def leased(stack: AsyncExitStack, url: str, folder: Path) -> Store:
    """A store that a panel's lease fences, once whoever had it before is thought to hang."""
    store = await stack.enter_async_context(open_store(url, folder))
    leases = await stack.enter_async_context(open_leases(url, "a worker"))
    await leases.evict(PANEL)
    while (lease := await leases.take(PANEL)) is None:  # noqa: ASYNC110 - another session's
        await asyncio.sleep(0.01)  # its session takes a moment to end
    return replace(
        store,
        registry=Registry(store.writers, lease.fence),
        runs=Runs(store.writers, lease.fence),
    )


def paused(url: str, folder: Path, fits: Fits) -> None:
    async def one_life() -> None:
        async with AsyncExitStack() as stack:
            await train_twice(await leased(stack, url, folder), Pausing(fits))

    try:
        asyncio.run(one_life())
    except LeaseLostError:
        sys.exit(REFUSED)


def life(url: str, folder: Path, kill_after: int = 0) -> int | None:
    """A process's exit code."""
    process = FORKED.Process(target=live, args=(url, folder, fitted(), kill_after))
    process.start()
    process.join()
    return process.exitcode


async def record(url: str) -> list[list[Any]]:
    connection = await asyncpg.connect(url)
    try:
        return [
            [tuple(row) for row in await connection.fetch(query)]
            for query in (VERSIONS, ALIASES, DECISIONS, RUNS)
        ]
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "step", [pytest.param(13, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.soak)]
)
async def test_killed_after_any_statement_it_ends_as_if_it_had_not_been(
    server_url: str, template: str, tmp_path: Path, step: int
) -> None:
    async def lives(name: str, *kills: int) -> tuple[list[int | None], list[list[Any]]]:
        url = await create_database(server_url, name, template=template)
        codes = [await asyncio.to_thread(life, url, tmp_path / name, kill) for kill in kills]
        found = await record(url)
        await drop_database(server_url, name)
        return codes, found

    codes, whole = await lives("training_whole", 0)
    versions, aliases, decisions, runs = whole
    assert codes == [0]
    assert [version for _, version, *_ in versions] == [1, 2] * len(KINDS)
    assert {(name, alias) for name, alias, *_ in aliases} >= {
        ("logistic.direction", "champion"),
        ("logistic.direction", "previous"),
    }
    assert {"cold_start", "refresh"} <= {trigger for *_, trigger, _, _ in decisions}
    assert runs == [(FIRST, "first", True), (SECOND, "schedule", True)]

    for kill_after in range(1, STATEMENTS, step):
        codes, cut = await lives("training_cut", kill_after, 0)
        if codes[0] == 0:
            break
        assert codes == [-signal.SIGKILL, 0]
        assert cut == whole, f"killed after {kill_after} statements"
    assert 40 < kill_after < STATEMENTS - step


@pytest.mark.long
async def test_who_is_paused_while_it_fits_decides_nothing_of_what_another_has_decided(
    database_url: str, tmp_path: Path
) -> None:
    process = FORKED.Process(target=paused, args=(database_url, tmp_path, fitted()))
    async with AsyncExitStack() as stack:
        process.start()
        stack.callback(process.kill)
        state = Path(f"/proc/{process.pid}/stat")
        await asyncio.to_thread(until, lambda: ") T " in state.read_text(), "a process that stands")
        await train_twice(await leased(stack, database_url, tmp_path), Workers(fitted()))
        whole = await record(database_url)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGCONT)
        await asyncio.to_thread(process.join)

        assert process.exitcode == REFUSED
        assert [version for _, version, *_ in whole[0]] == [1, 2] * len(KINDS)
        assert await record(database_url) == whole


async def test_what_was_decided_is_not_fitted_again(database_url: str, tmp_path: Path) -> None:
    async with open_store(database_url, tmp_path) as store:
        await train_twice(store, Workers(fitted()))
        await store.writers.execute(
            "DELETE FROM promotion_decisions WHERE name = 'lightgbm.volatility';"
            "DELETE FROM model_aliases WHERE name = 'lightgbm.volatility';"
            "DELETE FROM ml_models_metadata WHERE name = 'lightgbm.volatility' AND version = 2;"
            "UPDATE training_runs SET finished_at = NULL WHERE reason = 'schedule'"
        )
        again = Workers(fitted())
        learning = learning_of(store, again)
        await learning.restore()
        await learning.run(learning.due(SECOND))

        assert again.ordered == ["lightgbm.volatility"]
        assert await store.runs.unfinished("binance", H1) == []
        assert not learning.due(SECOND)


@pytest.mark.parametrize(("deaths", "versions"), [(2, 2), (9, 0)])
async def test_a_fit_whose_worker_dies_is_given_to_another_twice(
    database_url: str, tmp_path: Path, deaths: int, versions: int
) -> None:
    async with open_store(database_url, tmp_path) as store:
        workers = Workers(fitted(), deaths=deaths)
        learning = learning_of(store, workers)
        learning.panel.rooms[HORIZON].matured = 10_000
        await learning.run(learning.due(FIRST))

        assert len(await store.registry.versions()) == versions
        assert await store.runs.unfinished("binance", H1) == []
