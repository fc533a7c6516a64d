"""What is stored as columns is what was written, and is written on as before."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from backend.backup import back_up, restore
from backend.settings import Settings
from backend.store import database, growth, hypertables, migrate
from backend.store.chain import verify
from backend.store.hypertables import HYPERTABLES, SERIES
from backend.store.instruments import Instruments
from backend.store.published import compare
from backend.store.recorder import Recorder
from backend.store.server import read_server
from domain.events import Role
from tests.integration.store_samples import (
    at,
    candles,
    features,
    labels,
    outcomes,
    predictions,
    signal,
    signals,
)
from tests.timescale.conftest import LATER, PACKED, contents, hyper_database, pack, pool_of

pytestmark = pytest.mark.timescale
TICKS = 5


async def write(pool: asyncpg.Pool, numbers: Sequence[int], *, close: float = 101.5) -> None:
    recorder = Recorder(pool, Instruments(pool))
    revision = 1 if close == 101.5 else 2
    for number in numbers:
        hot = [
            candles(number, close=close, revision=revision),
            features(number, value=close, revision=revision),
            predictions(number),
            signals(number, signal(number)),
        ]
        await recorder.commit_tick(hot, published_at=at(number))
        member = predictions(number, role=Role.MEMBER, model="class_prior.direction")
        cold = [member, labels(number, known=number < TICKS), outcomes(number)]
        await recorder.commit_learning(cold, published_at=at(number))


@pytest.fixture
async def plain_url(plain_server: str) -> AsyncIterator[str]:
    name = f"test_plain_{uuid.uuid4().hex[:12]}"
    url = await database.create_database(plain_server, name)
    await asyncio.to_thread(migrate.upgrade, url)
    yield url
    await database.drop_database(plain_server, name)


async def test_the_same_is_answered_by_columns_rows_and_plain_postgresql(
    database_url: str, plain_url: str
) -> None:
    for url in (database_url, plain_url):
        async with pool_of(url) as pool:
            assert (await read_server(pool)).has_columnstore == (url == database_url)
            await write(pool, range(1, TICKS + 1))
            await pack(pool)
            before = await contents(url)
            await write(pool, range(1, TICKS + 1))
            assert await contents(url) == before
            await write(pool, [2, TICKS, TICKS + 1], close=102.5)
            async with pool.acquire() as connection:
                assert await verify(connection) is None
                assert await compare(connection) == []

    assert await contents(database_url) == await contents(plain_url)


async def test_old_chunks_are_packed_and_packed_again_after_a_correction(
    database_url: str,
) -> None:
    async with pool_of(database_url) as pool:
        await write(pool, range(1, TICKS + 1))
        await pack(pool)
        packed = {row[0] for row in await pool.fetch(PACKED)}
        async with pool.acquire() as connection:
            left = await hypertables.chunks_of_rows(connection, before=LATER)
            recent = await hypertables.chunks_of_rows(connection, before=at(0) - timedelta(days=60))
        await write(pool, [2], close=102.5)
        async with pool.acquire() as connection:
            corrected = await hypertables.chunks_of_rows(connection, before=LATER)
        await pack(pool)
        async with pool.acquire() as connection:
            again = await hypertables.chunks_of_rows(connection, before=LATER)

    assert packed == HYPERTABLES.keys() - {"ml_features_sentiment"}
    assert left == recent == again == []
    assert corrected


async def test_series_are_named_by_steps_that_the_server_takes_itself(
    database_url: str, plain_url: str
) -> None:
    found = {}
    for url in (database_url, plain_url):
        async with pool_of(url) as pool:
            await write(pool, range(1, TICKS + 1))
            await pack(pool)
            found[url] = [
                {tuple(row) for row in await pool.fetch(f"SELECT * FROM {name}_series")}  # noqa: S608
                for name in SERIES
            ]
            plan = await pool.fetch("EXPLAIN SELECT * FROM ml_predictions_series")
            assert any("SkipScan" in row[0] for row in plan) == (url == database_url)

    assert found[database_url] == found[plain_url]
    assert [len(rows) for rows in found[plain_url]] == [3, 3, 3, 3]


async def test_chunks_are_counted_in_what_a_table_takes_up(database_url: str) -> None:
    async with pool_of(database_url) as pool:
        before = await growth.table_sizes(pool)
        await write(pool, range(1, TICKS + 1))
        rows = await growth.table_sizes(pool)
        await pack(pool)
        packed = await growth.table_sizes(pool)

    grown = {"candles", "ml_features_ohlcv", "ml_labels", "ml_predictions"}
    assert all(before[name] < rows[name] for name in (*grown, "ml_prediction_outcomes"))
    assert all(before[name] < packed[name] for name in grown)


async def test_rows_of_plain_tables_are_moved_when_the_extension_is_created(
    timescale_server: str,
) -> None:
    name = f"test_moved_{uuid.uuid4().hex[:12]}"
    url = await database.create_database(timescale_server, name)
    connection = await database.connect(url)
    await connection.execute("DROP EXTENSION IF EXISTS timescaledb")
    await connection.close()
    await asyncio.to_thread(migrate.upgrade, url)
    try:
        async with pool_of(url) as pool:
            said = str(await read_server(pool))
            await write(pool, range(1, TICKS + 1))
        before = await contents(url)
        await hyper(url)
        await asyncio.to_thread(migrate.upgrade, url)

        async with pool_of(url) as pool:
            now = str(await read_server(pool))
            await write(pool, [*range(1, TICKS + 1), TICKS + 1])
        after = await contents(url)
        assert "CREATE EXTENSION timescaledb" in said
        assert now.endswith("with its columnstore")
        assert {table: set(rows) - set(after[table]) for table, rows in before.items()} == {
            table: set() for table in HYPERTABLES
        }
    finally:
        await database.drop_database(timescale_server, name)


async def hyper(url: str) -> None:
    connection = await database.connect(url)
    await connection.execute("CREATE EXTENSION timescaledb")
    await connection.close()


async def test_a_database_goes_back_to_nothing_and_up_again(timescale_server: str) -> None:
    name = f"test_down_{uuid.uuid4().hex[:12]}"
    url = await hyper_database(timescale_server, name)
    try:
        for _ in range(2):
            await asyncio.to_thread(migrate.upgrade, url)
            async with pool_of(url) as pool:
                await write(pool, range(1, TICKS + 1))
                await pack(pool)
            await asyncio.to_thread(migrate.downgrade, url, "base")
            assert await asyncio.to_thread(migrate.current, url) is None
    finally:
        await database.drop_database(timescale_server, name)


async def test_a_backup_has_what_is_packed(
    database_url: str, timescale_server: str, tmp_path: Path
) -> None:
    async with pool_of(database_url) as pool:
        await write(pool, range(1, TICKS + 1))
        await pack(pool)
    name = f"test_restored_{uuid.uuid4().hex[:12]}"
    url = await database.create_database(timescale_server, name)
    of, to = (
        Settings(state=tmp_path / place, database_url=SecretStr(one))
        for place, one in (("of", database_url), ("to", url))
    )
    try:
        await back_up(of, tmp_path / "backup")
        assert await restore(to, tmp_path / "backup", verify=True) == 0
        await asyncio.to_thread(migrate.upgrade, url)
        assert await contents(url) == await contents(database_url)
        async with pool_of(url) as pool:
            await write(pool, [2, TICKS + 1], close=102.5)
            await pack(pool)
    finally:
        await database.drop_database(timescale_server, name)
