"""The migrations and tables.py say the same, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from backend.store import database, migrate
from backend.store.tables import metadata
from domain.errors import StoreError, StoreUnavailableError

T = TypeVar("T")


async def inspected(url: str, look: Callable[[Connection], T]) -> T:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: database.connect(url)
    )
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(look)
    finally:
        await engine.dispose()


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def created(server_url: str, name: str) -> str:
    """A database as tables.py alone makes it."""
    url = await database.create_database(server_url, name)
    await inspected(url, metadata.create_all)
    return url


CATALOG = """
SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod),
       attnotnull::text, attidentity::text, attcollation::regcollation::text,
       pg_get_expr(adbin, adrelid)
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid AND relkind = 'r'
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid),
       NULL, NULL, NULL, NULL
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text,
       pg_get_indexdef(indexrelid), NULL, NULL, NULL, NULL
FROM pg_index JOIN pg_class c ON c.oid = indrelid AND relnamespace = 'public'::regnamespace
"""


async def catalog(url: str) -> set[tuple[str | None, ...]]:
    """Every column, constraint and index, as the server spells it."""
    connection = await database.connect(url)
    try:
        rows = {tuple(row) for row in await connection.fetch(CATALOG)}
    finally:
        await connection.close()
    return {row for row in rows if row[1] != "alembic_version"}


def test_there_is_one_newest_revision() -> None:
    assert len(migrate.heads()) == 1


async def test_a_migrated_database_is_what_the_tables_say(database_url: str) -> None:
    assert await asyncio.to_thread(migrate.current, database_url) == migrate.heads()[0]
    assert await inspected(database_url, differences) == []


async def test_migrating_and_creating_make_the_same_columns_constraints_and_indexes(
    database_url: str, server_url: str
) -> None:
    url = await created(server_url, "test_created")
    try:
        declared, migrated = await catalog(url), await catalog(database_url)
    finally:
        await database.drop_database(server_url, "test_created")

    assert declared - migrated == set()
    assert migrated - declared == set()


async def test_downgrading_removes_everything_and_upgrading_brings_it_back(
    database_url: str,
) -> None:
    before = await catalog(database_url)

    await asyncio.to_thread(migrate.downgrade, database_url, "base")

    assert await catalog(database_url) == set()
    assert await asyncio.to_thread(migrate.current, database_url) is None

    await asyncio.to_thread(migrate.upgrade, database_url)

    assert await catalog(database_url) == before


async def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    before = await catalog(database_url)

    await asyncio.to_thread(migrate.upgrade, database_url)

    assert await catalog(database_url) == before


async def test_processes_that_upgrade_at_once_take_turns(server_url: str) -> None:
    url = await database.create_database(server_url, "test_turns")
    try:
        await asyncio.gather(*(asyncio.to_thread(migrate.upgrade, url) for _ in range(3)))

        assert await inspected(url, differences) == []
    finally:
        await database.drop_database(server_url, "test_turns")


async def test_a_database_of_a_newer_program_is_refused_in_one_line(database_url: str) -> None:
    connection = await database.connect(database_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.execute("COMMENT ON TABLE alembic_version IS 'serves 9998'")
    await connection.close()

    with pytest.raises(StoreError, match="newer program") as refused:
        await asyncio.to_thread(migrate.upgrade, database_url)

    assert "9999" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_an_unreachable_database_cannot_be_migrated() -> None:
    with pytest.raises(StoreUnavailableError):
        await asyncio.to_thread(migrate.upgrade, "postgresql://me:secret@127.0.0.1:1/none")


async def test_a_database_with_tables_in_the_way_is_refused_in_one_line_and_unchanged(
    server_url: str,
) -> None:
    url = await database.create_database(server_url, "test_in_the_way")
    try:
        connection = await database.connect(url)
        await connection.execute("CREATE TABLE candles (mine int)")
        await connection.close()
        before = await catalog(url)

        with pytest.raises(StoreError, match='relation "candles" already exists') as refused:
            await asyncio.to_thread(migrate.upgrade, url)

        assert "\n" not in str(refused.value)
        assert await catalog(url) == before
    finally:
        await database.drop_database(server_url, "test_in_the_way")


async def test_an_unknown_revision_is_refused(database_url: str) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        await asyncio.to_thread(migrate.downgrade, database_url, "nowhere")
