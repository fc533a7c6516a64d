"""Connections: what a user is told when there is none, and what each pool may do."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import asyncpg
import pytest

from backend.store import database
from backend.store.embedded import EmbeddedPostgres
from domain.errors import StoreUnavailableError
from tests.conftest import as_any_role


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@127.0.0.1:1/alphapulse",
        "postgresql://me:secret@no.such.host.invalid/alphapulse",
        "postgresql://127.0.0.1:1/alphapulse?user=me&password=secret",
        "postgresql://me:secret@127.0.0.1:port/alphapulse",
        "mysql://me:secret@127.0.0.1/alphapulse",
        "postgresql://me:secret/1@127.0.0.1/alphapulse",
        "nonsense",
    ],
)
async def test_an_unreachable_database_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot reach the database") as refused:
        await database.connect_pool(url)

    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_a_database_that_does_not_exist_is_named(database_url: str) -> None:
    with pytest.raises(StoreUnavailableError, match='database "nowhere" does not exist'):
        await database.connect_pool(database.with_database(database_url, "nowhere"))


async def test_a_reader_cannot_write(database_url: str) -> None:
    async with await database.connect_pool(database_url, size=2, read_only=True) as reader:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute("CREATE TABLE mine (n int)")


async def test_a_throw_away_database_may_commit_without_waiting(database_url: str) -> None:
    settings = {"synchronous_commit": "off"}
    async with await database.connect_pool(database_url, settings=settings) as writer:
        assert await writer.fetchval("SHOW synchronous_commit") == "off"
        assert await writer.fetchval("SHOW timezone") == "UTC"


async def test_a_database_is_dropped_whoever_is_connected_to_it(database_url: str) -> None:
    url = await database.create_database(database_url, "test_dropped")
    connection = await database.connect(url)

    await database.drop_database(database_url, "test_dropped")

    with pytest.raises(database.CONNECTION_ERRORS):
        await connection.fetchval("SELECT 1")
    with pytest.raises(StoreUnavailableError):
        await database.connect(url)


VACUUMED = (
    "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND datname = $1"
)


@pytest.mark.long
async def test_a_database_is_dropped_while_it_is_vacuumed(tmp_path: Path) -> None:
    """Only a superuser may end the worker that does it."""
    often = {"autovacuum_naptime": "1s", "autovacuum_vacuum_cost_delay": "100ms"}
    with EmbeddedPostgres(tmp_path, settings=often) as server:
        mine = await as_any_role(server)
        url = await database.create_database(mine, "test_vacuumed")
        connection = await database.connect(url)
        await connection.execute("CREATE TABLE many AS SELECT generate_series(1, 500000) AS n")
        await connection.execute("DELETE FROM many")
        owner = await database.connect(server)  # others are not told of it
        async with asyncio.timeout(60):
            while not await owner.fetch(VACUUMED, "test_vacuumed"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        await database.drop_database(mine, "test_vacuumed")
        await owner.close()

        with pytest.raises(database.CONNECTION_ERRORS):
            await connection.fetchval("SELECT 1")


async def test_what_loses_its_only_connection_says_so_in_one_line(database_url: str) -> None:
    with pytest.raises(StoreUnavailableError, match=r"^the database is gone: TimeoutError$"):
        async with database.pool_of_one(database_url):
            raise TimeoutError


def test_a_file_that_cannot_be_had_is_no_outage(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as missing:
        (tmp_path / "none").read_bytes()
    assert not database.away(missing.value)
    assert database.away(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))


async def test_what_is_lost_within_a_transaction_says_by_what(database_url: str) -> None:
    async with await database.connect_pool(database_url, size=1) as pool:
        with pytest.raises(database.CONNECTION_ERRORS) as lost:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    assert "terminating connection due to administrator" in database.why_away(lost.value)
    assert "Transaction" not in database.why_away(lost.value)


async def test_a_pool_finds_the_server_again_after_losing_its_connections(
    database_url: str,
) -> None:
    other = await database.connect(database_url)
    async with await database.connect_pool(database_url, size=1) as pool:
        async with pool.acquire() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await other.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            with pytest.raises(database.CONNECTION_ERRORS):
                await connection.execute("SELECT 1")

        assert await pool.fetchval("SELECT pg_backend_pid()") != pid
    await other.close()
