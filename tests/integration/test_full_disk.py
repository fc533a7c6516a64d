"""A disk that is full: ticks wait, it is said why, and nothing is lost once there is room."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backend.settings import Settings
from backend.store import database, migrate
from backend.store.embedded import EmbeddedPostgres
from backend.store.postmaster import working_in
from backend.store.state import StateFolder
from backend.store.stream_log import StreamEvent
from backend.wiring import database_of
from tests.integration.test_store_in_trouble import (
    EVENTS,
    LOOK_EVERY_S,
    Writer,
    whole,
    writing,
)
from tests.processes import WITHIN_S
from tests.small_disk import small_disk

DATA_MB, LOG_MB = 160, 112


@asynccontextmanager
async def a_systems_database(state: Path) -> AsyncIterator[str]:
    """The embedded one, looked after as a running system does."""
    async with asyncio.TaskGroup() as watch, database_of(Settings(state=state), watch) as url:
        await asyncio.to_thread(migrate.upgrade, url)
        yield url


async def until_one_waits(
    writer: Writer, between: str = "SELECT"
) -> tuple[int, asyncio.Task[list[StreamEvent]]]:
    """Commit ticks until one is tried again: its number, and what goes on."""
    for number in itertools.count(2):
        task = writer.tick(number)
        while not task.done():
            if database.waits():
                return number, task
            await asyncio.sleep(LOOK_EVERY_S)
        with contextlib.suppress(*database.CONNECTION_ERRORS):
            await writer.pool.execute(between)
    raise AssertionError


async def test_a_tick_waits_for_room_among_the_tables() -> None:
    with small_disk(DATA_MB) as disk:
        async with a_systems_database(disk.path / "state") as url, writing(url) as writer:
            await writer.tick(1)
            disk.fill()
            number, task = await until_one_waits(writer)
            (trouble, *_) = database.waits()
            disk.free()

            assert len(await task) == EVENTS
            assert "No space left on device" in trouble.reason
            await whole(url, number)


@pytest.mark.long
async def test_a_server_that_ended_for_want_of_room_comes_back_with_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    StateFolder(state).open()
    with EmbeddedPostgres(state):
        data = state / "postgres"
    with small_disk(LOG_MB) as disk:
        on_small_disk(data / "pg_wal", disk.path / "pg_wal")
        async with a_systems_database(state) as url, writing(url) as writer:
            await writer.tick(1)
            disk.fill()
            number, task = await until_one_waits(writer, "SELECT pg_switch_wal()")
            async with asyncio.timeout(WITHIN_S):
                while working_in(data.resolve()):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(LOOK_EVERY_S)
                while not any("is full" in one.reason for one in database.waits()):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_EVERY_S)
            disk.free()

            assert len(await task) == EVENTS
            await whole(url, number)


def on_small_disk(folder: Path, place: Path) -> None:
    """Have a folder of the data elsewhere, its owner's as before."""
    owner = folder.stat()
    shutil.copytree(folder, place)
    for one in (place, *place.rglob("*")):
        os.chown(one, owner.st_uid, owner.st_gid)
        one.chmod(0o700)
    shutil.rmtree(folder)
    folder.symlink_to(place)
