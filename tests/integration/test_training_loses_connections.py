"""A training whose connections are lost anywhere goes on, and ends as one that lost none."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from alphapulse_testing.panel import HORIZON
from backend.learning.fits import fit_from_store
from backend.store.database import connect, create_database, drop_database, waits
from backend.wiring import Store, open_store
from tests.doubles import Impatient
from tests.integration.test_training_cut_short import (
    FIRST,
    STATEMENTS,
    Workers,
    fitted,
    learn_twice,
    learning_of,
    record,
)
from tests.processes import WITHIN_S
from tests.tcp_proxy import TcpProxy, proxied

T = TypeVar("T")
TERMINATE = "SELECT pg_terminate_backend($1, 60000)"
WAITS_FOR_A_LOCK = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
TABLES = (
    "training_runs",
    "ml_models_metadata",
    "model_aliases",
    "promotion_decisions",
    "ml_prediction_outcomes",
)


@dataclass(frozen=True)
class Life:
    """What two trainings leave: in the record, in what is told, and in the seats."""

    record: list[list[Any]]
    told: list[object]
    placed: dict[str, int]


async def life(url: str, store: Store, workers: Workers | None = None) -> Life:
    told = list[object]()
    learning = learning_of(store, workers or Workers(fitted()), Impatient(), told.append)
    async with asyncio.timeout(WITHIN_S):
        await learn_twice(learning)
    return Life(await record(url), told, learning.placed(HORIZON))


@asynccontextmanager
async def a_database(server_url: str, template: str) -> AsyncIterator[str]:
    name = "training_lost"
    yield await create_database(server_url, name, template=template)
    await drop_database(server_url, name)


@pytest.fixture
async def whole(server_url: str, template: str, tmp_path: Path) -> Life:
    """Of a life that loses nothing."""
    async with a_database(server_url, template) as url, open_store(url, tmp_path) as store:
        return await life(url, store)


async def terminate(url: str, backend: int) -> None:
    connection = await connect(url)
    assert await connection.fetchval(TERMINATE, backend)
    await connection.close()


async def terminate_after(store: Store, statements: int) -> Callable[[], bool]:
    """Have the server end whichever session has made so many of them; whether it has."""
    left = itertools.count(statements - 1, -1)
    ended = list[int]()

    def counted(backend: int, _: object) -> None:
        if next(left) == 0:
            with ThreadPoolExecutor(1) as beside:
                beside.submit(asyncio.run, terminate(store.url, backend)).result()
            ended.append(backend)

    for pool in (store.writers, store.readers):
        connections = [await pool.acquire() for _ in range(pool.get_max_size())]
        for one in connections:
            one.add_query_logger(partial(counted, one.get_server_pid()))
        for one in connections:
            await pool.release(one)
    return lambda: bool(ended)


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.soak)])
async def test_terminated_after_any_statement_it_ends_as_if_it_had_not_been(
    server_url: str,
    template: str,
    tmp_path: Path,
    whole: Life,
    step: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for statements in range(1, STATEMENTS, step):
        async with a_database(server_url, template) as url, open_store(url, tmp_path) as store:
            terminated = await terminate_after(store, statements)
            found = await life(url, store)
            if not terminated():
                break
        assert found == whole, f"terminated after {statements} statements"

    assert 40 < statements < STATEMENTS - step
    assert not [one for one in caplog.records if one.exc_info]
    assert waits() == []


@pytest.mark.parametrize("table", TABLES)
async def test_terminated_within_a_statement_it_makes_it_again(
    database_url: str, tmp_path: Path, whole: Life, table: str
) -> None:
    async with open_store(database_url, tmp_path) as store:
        found = await terminated(database_url, table, partial(life, database_url, store))

    assert found == whole


async def terminated(url: str, table: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `work` gives, whose session is ended while it waits for a table."""
    holder, admin = await connect(url), await connect(url)
    try:
        async with holder.transaction():
            await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            task = asyncio.create_task(work())
            async with asyncio.timeout(WITHIN_S):
                while (backend := await admin.fetchval(WAITS_FOR_A_LOCK)) is None:
                    assert not task.done(), task.result()
                    await asyncio.sleep(0.01)
                assert await admin.fetchval(TERMINATE, backend)
                while not waits():
                    assert not task.done(), task.result()
                    await asyncio.sleep(0)
            assert waits()[0].grave
        return await task
    finally:
        await holder.close()
        await admin.close()


@dataclass
class Cutting(Workers):
    """The answer to the commit after the fits is lost."""

    proxy: TcpProxy | None = None

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        assert self.proxy is not None
        if work is fit_from_store:
            self.proxy.cut_after = b"COMMIT;"
        return super().submit(work, *arguments)


async def test_a_decision_whose_answer_is_lost_is_made_once_and_takes_place(
    database_url: str, tmp_path: Path, whole: Life
) -> None:
    with proxied(database_url) as proxy:
        async with open_store(proxy.url, tmp_path) as store:
            found = await life(database_url, store, Cutting(fitted(), proxy=proxy))

    assert proxy.cuts == 2
    assert found == whole


class Threads:
    """Work is done for real, beside the test."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        return self._threads.submit(work, *arguments)

    def close(self) -> None:
        self._threads.shutdown()


async def test_a_fit_that_loses_its_rows_on_the_way_reads_them_again(
    database_url: str, tmp_path: Path
) -> None:
    told, threads = list[Any](), Threads()
    async with open_store(database_url, tmp_path) as store:
        learning = learning_of(store, threads, Impatient(), told.append)
        learning.panel.rooms[HORIZON].matured = 10_000
        due = learning.due(FIRST)
        await terminated(database_url, "ml_labels", partial(learning.run, due))
        threads.close()

        assert [one.detail for one in told] == ["not fitted: no rows to fit on"] * 2
        assert await store.runs.unfinished("binance", learning.panel.key.timeframe) == []
