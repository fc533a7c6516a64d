"""Databases with hypertables in place of plain ones, for the same tests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backend.store import database, migrate

# What others are connected to, as the server's own workers, cannot be copied.
ALONE = (
    "UPDATE pg_database SET datallowconn = false WHERE datname = $1",
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1",
)


@pytest.fixture(scope="session")
def server_url(timescale_server: str) -> str:
    return timescale_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(server_url: str) -> AsyncIterator[str]:
    """The name of a database with the newest schema, to copy from."""
    name = f"test_hyper_{uuid.uuid4().hex[:12]}"
    url = await hyper_database(server_url, name)
    await asyncio.to_thread(migrate.upgrade, url)
    connection = await database.connect(server_url)
    for statement in ALONE:
        await connection.execute(statement, name)
    await connection.close()
    yield name
    await database.drop_database(server_url, name)


async def hyper_database(server_url: str, name: str) -> str:
    """An empty database with the extension; its URL."""
    url = await database.create_database(server_url, name)
    connection = await database.connect(url)
    await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    await connection.close()
    return url
