"""What is derived from the record beside the ticks: a part that fails stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from backend import background
from backend.api.status import Market, Status
from backend.cadence import LOOK_EVERY_S
from backend.folding import Folding
from backend.settings import Settings
from backend.store import database, panels
from backend.store.system_status import SYSTEM, StatusStore
from backend.told_status import keep_telling
from tests.doubles import ManualClock
from tests.processes import WITHIN_S

LATENCY = "the panel latency of the page failed (UndefinedTableError)"
LOOK = timedelta(seconds=LOOK_EVERY_S)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with await database.connect_pool(database_url, size=3) as found:
        yield found


@asynccontextmanager
async def running(pool: asyncpg.Pool, wall: ManualClock, status: Status) -> AsyncIterator[None]:
    kept = StatusStore(pool, SYSTEM)
    works = [
        Folding(Settings(), pool, ManualClock(), wall).run(),
        keep_telling(kept, status, dict, ManualClock()),
    ]
    async with asyncio.TaskGroup() as tasks:
        begun = [tasks.create_task(work) for work in works]
        yield
        for task in begun:
            task.cancel()


async def looked(wall: ManualClock) -> None:
    """The next look is over."""
    async with asyncio.timeout(WITHIN_S):
        while not wall.sleepers:  # noqa: ASYNC110 - the clock has no event
            await asyncio.sleep(0)
        wall.advance(LOOK)
        while not wall.sleepers:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_panel_that_fails_ends_neither_the_others_nor_the_system(
    pool: asyncpg.Pool,
) -> None:
    wall, status = ManualClock(), Status(market=Market.LIVE)
    await pool.execute("ALTER TABLE cross_sections RENAME TO away")
    async with running(pool, wall, status):
        await looked(wall)
        there = await shown(pool)
        told = [one.reason for one in status.trouble() if one.about == "background"]
        await pool.execute("ALTER TABLE away RENAME TO cross_sections")
        async with asyncio.timeout(WITHIN_S):
            while "latency" not in await shown(pool):
                await looked(wall)

    assert there == {*panels.PANELS} - {"latency"}
    assert [one.partition(";")[0] for one in told] == [LATENCY]
    assert background.troubles() == []


async def shown(pool: asyncpg.Pool) -> set[str]:
    return {row["panel"] for row in await pool.fetch("SELECT panel FROM dashboard_data")}
