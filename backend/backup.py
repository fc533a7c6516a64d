"""Backups of a system: its record and its models' files in one folder, and back from there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
import orjson
from pydantic import TypeAdapter, ValidationError

from backend import VERSION
from backend.clock import SystemClock
from backend.reading import read_text
from backend.settings import Settings
from backend.store import chain, kept_heads, migrate, published, schema
from backend.store.database import CONNECTION_ERRORS, connect
from backend.store.dump import dump, load
from backend.store.schema import Schema, Standing
from backend.store.state import StateFolder
from backend.wiring import database_of
from domain.errors import StoreError, StoreUnavailableError, UsageError
from domain.market import rfc3339

LAYOUT: Final = 1  # of a backup; raise it when an older program could not read it
DUMP: Final = "database.dump"
HEADS: Final = "heads.jsonl"
MANIFEST: Final = "manifest.json"
FOLDERS: Final = ("artifacts", "plugins")  # of the state folder
CHUNK: Final = 1 << 20
_TABLES: Final = """
SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename
"""
_NEWEST: Final = "SELECT max(published_at) FROM stream_blocks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup has, to be compared with what is restored.

    Attributes:
        made_at: of the snapshot, RFC 3339.
        newest: of the last published event in it, RFC 3339; None without one.
        schema: revision of the tables.
        rows: of every table.
        sha256: of every other file of the backup, by its path.
    """

    layout: int
    version: str
    made_at: str
    newest: str | None
    schema: str
    rows: dict[str, int]
    sha256: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of the backup in `folder`.

        Raises:
            UsageError: it is none, of another layout, or not as it was written.
        """
        try:
            said: Any = orjson.loads((folder / MANIFEST).read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise UsageError(f"{folder} is no backup: it has no {MANIFEST} to be read") from error
        layout = said.get("layout") if isinstance(said, dict) else None
        if layout != LAYOUT:
            raise UsageError(f"{folder} is a backup of layout {layout}, not {LAYOUT}")
        try:
            manifest = TypeAdapter(cls).validate_python(said)
        except ValidationError as error:
            raise UsageError(f"{folder / MANIFEST} is not as it was written") from error
        for name, sha256 in ({DUMP: "", HEADS: ""} | manifest.sha256).items():
            if not (folder / name).is_file() or _sha256(folder / name) != sha256:
                raise UsageError(f"{folder / name} is missing, or not as it was written")
        return manifest


async def back_up(settings: Settings, folder: Path) -> None:
    """Write a backup to a folder that does not exist yet; a system may run meanwhile.

    Raises:
        UsageError: the folder exists.
        StoreError: the database cannot be dumped, or has the schema of another program.
    """
    began = time.monotonic()
    _refuse_existing(folder)
    if settings.database_url is None:
        StateFolder(settings.state).exists()
    growing = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True, mode=0o700)
    async with database_of(settings) as url, _snapshot(url) as (connection, snapshot):
        rows = await _rows(connection)
        found = await _readable(connection)
        heads = await kept_heads.heads(connection)
        (growing / HEADS).write_text("".join(f"{one.line()}\n" for one in heads))
        newest: datetime | None = await connection.fetchval(_NEWEST)
        made_at = rfc3339(SystemClock().now())
        server = connection.get_server_version().major
        await dump(url, snapshot, growing / DUMP, server=server)
    # After the snapshot: what it names is there, and no file is ever changed.
    for name in FOLDERS:
        if (settings.state / name).is_dir():
            await asyncio.to_thread(shutil.copytree, settings.state / name, growing / name)
    manifest = Manifest(
        layout=LAYOUT,
        version=VERSION,
        made_at=made_at,
        newest=None if newest is None else rfc3339(newest),
        schema=found.revision or "",
        rows=rows,
        sha256={str(one.relative_to(growing)): _sha256(one) for one in _files(growing)},
    )
    (growing / MANIFEST).write_bytes(orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
    size = sum(one.stat().st_size for one in _files(growing))
    _settle(growing)
    growing.rename(folder)
    sys.stdout.write(
        f"{folder}: {size / 1e6:.1f} MB in {time.monotonic() - began:.1f} s, "
        f"{sum(rows.values())} rows up to {manifest.newest or 'no event yet'}\n"
    )


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise UsageError(f"{folder} exists; name another folder for the backup")


async def restore(settings: Settings, folder: Path, *, verify: bool) -> int:
    """Make an empty state folder, or the database that the settings name, what a backup has.

    Returns:
        1 where `verify` found what is not as it was, else 0.

    Raises:
        UsageError: it is no whole backup, or there is something where it is to go.
        StoreError: the database cannot be loaded, and nothing of it is kept; or it is loaded, and
            of a newer program, which has to verify it.
    """
    began = time.monotonic()
    manifest = await asyncio.to_thread(Manifest.read, folder)
    state = StateFolder(settings.state)
    with state.owned():
        async with database_of(settings) as url:
            connection = await connect(url)
            try:
                if await connection.fetch(_TABLES):
                    raise UsageError(
                        "the database has tables; restore into an empty one, or another --state"
                    )
                server = connection.get_server_version().major
            finally:
                await connection.close()
            await load(url, folder / DUMP, server=server)
            await _analyze(url)
            for name in FOLDERS:
                if (folder / name).is_dir():
                    shutil.copytree(folder / name, state.path / name, dirs_exist_ok=True)
            loaded = time.monotonic() - began
            faults = await _faults(url, folder, manifest) if verify else []
    sys.stdout.writelines(f"{one}\n" for one in faults)
    sys.stdout.write(
        f"restored in {loaded:.1f} s: {sum(manifest.rows.values())} rows up to "
        f"{manifest.newest or 'no event yet'}{_verdict(faults, verify=verify)}\n"
    )
    return 1 if faults else 0


def _verdict(faults: list[str], *, verify: bool) -> str:
    if not verify:
        return ""
    return (
        f"; not as it was: {len(faults)}" if faults else "; every row, event and head is as it was"
    )


async def _analyze(url: str) -> None:
    """An archive has no statistics; without them the first reads of a start take minutes."""
    connection = await connect(url)
    try:
        await connection.execute("ANALYZE", timeout=None)
    finally:
        await connection.close()


async def _faults(url: str, folder: Path, manifest: Manifest) -> list[str]:
    """What is not as it was: rows as they were loaded, and the record once it is migrated."""
    heads = kept_heads.parse(read_text(folder / HEADS))
    connection = await connect(url)
    try:
        rows = await _rows(connection)
        found: list[object] = [
            f"table {name}: {rows.get(name, 0)} rows, the backup has {count}"
            for name, count in manifest.rows.items()
            if rows.get(name) != count
        ]
        await asyncio.to_thread(migrate.upgrade, url)  # an older release may have made it
        found += await chain.breaks(connection)
        found += await published.compare(connection)
        found += await kept_heads.breaks(connection, heads)
    finally:
        await connection.close()
    return [str(one) for one in found]


@asynccontextmanager
async def _snapshot(url: str) -> AsyncIterator[tuple[asyncpg.Connection, str]]:
    """A transaction that sees the database as it is now, and its name for others."""
    connection = await connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection, await connection.fetchval("SELECT pg_export_snapshot()")
    except CONNECTION_ERRORS as error:
        if isinstance(error, OSError | StoreUnavailableError):  # of its files, or it was said
            raise
        raise StoreUnavailableError("the database ended while it was read") from error
    finally:
        await connection.close()


async def _rows(connection: asyncpg.Connection) -> dict[str, int]:
    names = [row["tablename"] for row in await connection.fetch(_TABLES)]
    if not names:
        raise StoreError("the database has no tables: no system has used it")
    return {
        name: await connection.fetchval(f'SELECT count(*) FROM "{name}"')  # noqa: S608 - its own
        for name in names
    }


async def _readable(connection: asyncpg.Connection) -> Schema:
    found = await schema.look(connection)
    if migrate.standing(found) not in {Standing.NEWEST, Standing.SERVED}:
        raise StoreError(
            f"the database has schema {found.revision}, this program needs {migrate.heads()[0]}:"
            " back it up with the program that runs on it"
        )
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _settle(folder: Path) -> None:
    """See that all of it is on the disk, before its name says that it is whole."""
    for one in (*_files(folder), *_folders(folder)):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _folders(folder: Path) -> Iterable[Path]:
    return (one for one in (folder, *folder.rglob("*")) if one.is_dir())
