"""A program of the last release goes on while a newer one migrates the database below it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

import migrations
from backend.store import migrate
from backend.store.database import connect, create_database, drop_database
from backend.store.schema import SERVES, Schema, Standing, look
from domain.errors import StoreError
from tests.releases import EXPANDED, RELEASES, Release, compatible
from tests.releases.recording import read
from tests.served_market import TICKS, ServedMarket

LAST = RELEASES[-1]

BREAKING = {
    "a dropped column": "ALTER TABLE instruments DROP COLUMN lot_size",
    "a renamed column": "ALTER TABLE candles RENAME COLUMN volume TO base_volume",
    "a renamed table": "ALTER TABLE candles RENAME TO bars",
    "a changed type": "ALTER TABLE instruments ALTER COLUMN lot_size TYPE numeric",
    "a column that each row needs": "ALTER TABLE relay_cursors ADD COLUMN epoch int NOT NULL",
    "a column that may not be NULL any more": "ALTER TABLE instruments ALTER lot_size SET NOT NULL",
    "a default that is gone": "ALTER TABLE instruments ALTER instrument_id DROP IDENTITY",
    "a check": "ALTER TABLE candles ADD CONSTRAINT few CHECK (trades < 1000000)",
    "what is to be unique": "CREATE UNIQUE INDEX one_symbol ON instruments (symbol)",
    "what was unique, and answered conflicts": "ALTER TABLE relay_cursors"
    " DROP CONSTRAINT relay_cursors_pkey",
    "a reference": "ALTER TABLE candles ADD CONSTRAINT known"
    " FOREIGN KEY (instrument_id) REFERENCES instruments (instrument_id)",
    "a reference to it": "CREATE TABLE notes (instrument_id int REFERENCES instruments)",
    "a view that is gone": "DROP VIEW stream_events CASCADE",
    "a trigger": "CREATE TRIGGER no_change BEFORE UPDATE ON candles"
    " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
}
EXPANDING = {
    "a table": "CREATE TABLE notes (note text NOT NULL)",
    "a column of every table": EXPANDED,
    "a column with a default": "ALTER TABLE candles ADD COLUMN taker int NOT NULL DEFAULT 0",
    "an index": "CREATE INDEX candles_volume_idx ON candles (volume)",
    "a check that is gone": "ALTER TABLE candles DROP CONSTRAINT IF EXISTS candles_check",
}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To a database of the newest schema."""
    opened = await connect(database_url)
    yield opened
    await opened.close()


@dataclass(frozen=True, slots=True)
class Running:
    """The last release on a database of the newest schema, of which it has asked all."""

    url: str
    before: compatible.Schema

    async def broken_by(self, change: str) -> list[str]:
        """What it could not do after a migration, which is undone."""
        connection = await connect(self.url)
        try:
            async with undone(connection):
                await connection.execute(change)
                return compatible.breaks(
                    self.before, await compatible.met(connection, list(self.before.said))
                )
        finally:
            await connection.close()


@asynccontextmanager
async def undone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(server_url: str, template: str) -> AsyncIterator[Running]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = await create_database(server_url, name, template=template)
    opened = await connect(url)
    yield Running(url, await compatible.met(opened, read(LAST.statements)))
    await opened.close()
    await drop_database(server_url, name)


@pytest.mark.parametrize("release", [one for one in RELEASES if one.schema >= migrations.SERVES],
                         ids=str)  # fmt: skip
async def test_the_newest_schema_answers_all_that_a_release_asks(
    connection: asyncpg.Connection, database_url: str, release: Release
) -> None:
    asked = read(release.statements)
    after = await compatible.met(connection, asked)
    await asyncio.to_thread(migrate.downgrade, database_url, release.schema)
    before = await compatible.met(connection, asked)

    assert [one for one in before.said.values() if isinstance(one, str)] == []
    assert compatible.breaks(before, after) == []
    assert len(asked) > 300


@pytest.mark.parametrize("change", BREAKING)
async def test_a_migration_that_breaks_what_runs_is_named(running: Running, change: str) -> None:
    assert await running.broken_by(BREAKING[change])


@pytest.mark.parametrize("change", EXPANDING)
async def test_a_migration_that_expands_breaks_nothing(running: Running, change: str) -> None:
    assert await running.broken_by(EXPANDING[change]) == []


async def test_rows_are_written_and_written_again_beside_columns_of_a_newer_program(
    market: ServedMarket,
) -> None:
    await market.pool.execute(EXPANDED)

    assert await market.commit(TICKS)
    assert await market.commit(TICKS) == []
    assert await market.pool.fetchval("SELECT count(*) FROM quarantine") == 0


def test_what_a_migration_serves_is_the_schema_of_a_release() -> None:
    assert migrations.SERVES in {one.schema for one in RELEASES}


async def test_a_migrated_database_says_whom_it_serves(connection: asyncpg.Connection) -> None:
    found = await look(connection)

    assert found == Schema(revision=migrate.heads()[0], serves=migrations.SERVES)
    assert migrate.standing(found) is Standing.NEWEST


async def test_an_older_program_works_on_a_newer_schema_that_serves_it(
    connection: asyncpg.Connection, database_url: str
) -> None:
    await migrated_by_a_newer_program(connection, serves=migrate.heads()[0])

    await asyncio.to_thread(migrate.upgrade, database_url)

    found = await look(connection)
    assert found.revision == "9999"
    assert migrate.standing(found) is Standing.SERVED


async def test_a_newer_schema_is_never_downgraded_by_an_older_program(
    connection: asyncpg.Connection, database_url: str
) -> None:
    await migrated_by_a_newer_program(connection, serves=migrate.heads()[0])

    with pytest.raises(StoreError, match="use a newer program"):
        await asyncio.to_thread(migrate.downgrade, database_url, "base")


async def migrated_by_a_newer_program(connection: asyncpg.Connection, *, serves: str) -> None:
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.execute(f"COMMENT ON TABLE alembic_version IS '{SERVES}{serves}'")
