"""Databases with hypertables in place of plain ones, for the same tests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
import pytest
import pytest_asyncio

from backend.retention import Retention
from backend.setting_tables import RetentionSettings
from backend.store import database, migrate
from backend.store.hypertables import HYPERTABLES
from tests.doubles import ManualClock
from tests.integration.conftest import market, market_url, rest  # noqa: F401 - fixtures
from tests.integration.store_samples import at
from tests.served_market import TICKS, record

LATER = at(24 * 100)  # the chunk of the first ticks is closed, and beyond the repair horizon
PACKED = """
SELECT hypertable_name FROM timescaledb_information.chunks WHERE is_compressed ORDER BY 1
"""

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
    await leave_alone(server_url, name)
    yield name
    await database.drop_database(server_url, name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def recorded(server_url: str, template: str) -> AsyncIterator[str]:
    """The name of a database with the served market in it, to copy from."""
    name = f"test_market_{uuid.uuid4().hex[:12]}"
    await record(await database.create_database(server_url, name, template=template), TICKS)
    await leave_alone(server_url, name)
    yield name
    await database.drop_database(server_url, name)


async def leave_alone(server_url: str, name: str) -> None:
    """Let nobody connect to a database any more."""
    connection = await database.connect(server_url)
    for statement in ALONE:
        await connection.execute(statement, name)
    await connection.close()


async def hyper_database(server_url: str, name: str) -> str:
    """An empty database with the extension; its URL."""
    url = await database.create_database(server_url, name)
    connection = await database.connect(url)
    await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    await connection.close()
    return url


@asynccontextmanager
async def pool_of(url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await database.connect_pool(url, size=2)
    yield pool
    await pool.close()


async def pack(pool: asyncpg.Pool, now: datetime = LATER) -> None:
    """As the system does."""

    async def free() -> None:
        return

    clock = ManualClock(now)
    await Retention(
        about=RetentionSettings(), relayed=(), pool=pool, clock=clock, wall=clock, free=free
    ).sweep()


async def packed(url: str, now: datetime = LATER) -> None:
    """Pack what is old by then, which must be something."""
    async with pool_of(url) as pool:
        await pack(pool, now)
        assert await pool.fetchval(PACKED)


async def contents(url: str) -> dict[str, list[str]]:
    """Every row of the tables that are hypertables, as text."""
    connection = await database.connect(url, server_settings={"timezone": "UTC"})
    found = {}
    for name in HYPERTABLES:
        rows = await connection.fetch(f"SELECT t::text FROM {name} t ORDER BY 1")  # noqa: S608
        found[name] = [row[0] for row in rows]
    await connection.close()
    return found
