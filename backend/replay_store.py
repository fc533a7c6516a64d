"""A store for one replay, on a server of its own or one that was named; gone afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from backend.plugins import catalogue_of
from backend.settings import Settings
from backend.store import database
from backend.store.embedded import EmbeddedPostgres
from backend.store.postmaster import end_leftovers
from backend.store.state import StateFolder, lock
from backend.wiring import Store, open_store
from domain.errors import StateFolderError

# Nothing here is to survive a power cut.
HASTY: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}
SERVER: Final = "server_"  # names of rooms with a server of their own
DATABASE: Final = "replay_"  # and of those with a database on the one that was named


@asynccontextmanager
async def store_of_its_own(settings: Settings) -> AsyncIterator[Store]:
    """A new store; its database and its artifacts are gone afterwards.

    Where no PostgreSQL is named it is a server of its own: a system that runs on the same
    state folder is neither asked nor burdened.
    """
    folder = StateFolder(settings.state)
    folder.open()
    room = folder.path / "replay"
    room.mkdir(exist_ok=True)
    kinds = catalogue_of(settings.plugins)
    named = settings.database_url.get_secret_value() if settings.database_url else None
    async with AsyncExitStack() as stack:
        await _remove_leftovers(named, room)
        name = (DATABASE if named else SERVER) + uuid.uuid4().hex[:12]
        stack.enter_context(lock(_lock_of(room, name)))
        stack.push_async_callback(_remove, named, room, name)
        if named is None:
            url = await stack.enter_async_context(_server(room / name))
        else:
            url = await database.create_database(named, name)
        yield await stack.enter_async_context(
            open_store(url, room / name / "artifacts", kinds, durable=False)
        )


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[str]:
    if os.geteuid() == 0:  # the server's account may be another
        for passed in (folder.parent, folder.parent.parent):
            passed.chmod(passed.stat().st_mode | 0o001)
    server = EmbeddedPostgres(folder, settings=HASTY)
    url = await asyncio.to_thread(server.start)
    try:
        yield url
    finally:
        await asyncio.to_thread(server.stop)


async def _remove_leftovers(named: str | None, room: Path) -> None:
    """What killed replays have left behind: one that still runs holds its lock."""
    for path in await asyncio.to_thread(lambda: list(room.glob("*.lock"))):
        with suppress(StateFolderError), lock(path):
            await _remove(named, room, path.stem)


async def _remove(named: str | None, room: Path, name: str) -> None:
    """The lock file goes last: where the database is away, the next replay tries again."""
    if name.startswith(SERVER):
        await asyncio.to_thread(end_leftovers, (room / name).resolve() / "postgres")
    elif named is None:
        return  # its database is on a server that is not named now
    await asyncio.to_thread(shutil.rmtree, room / name, ignore_errors=True)
    if named is not None and name.startswith(DATABASE):
        await database.drop_database(named, name)
    _lock_of(room, name).unlink(missing_ok=True)


def _lock_of(room: Path, name: str) -> Path:
    return room / f"{name}.lock"
