"""A record that is stored as columns is lived on and migrated, and every row is accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from backend.features import audit_rows
from backend.store import migrate
from backend.store.chain import verify
from backend.store.published import compare
from backend.wiring import Store, open_store
from domain.market import EPOCH
from tests.panel_life import LIVE, Life, Plan, arrivals
from tests.second_set import BOTH
from tests.timescale.conftest import contents, pack, packed

pytestmark = pytest.mark.timescale
numbers = count()
OLD = "0025"  # the schema that the first hypertables were released with


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


async def begun(store: Store) -> Life:
    life = Life(store, f"exchange{next(numbers)}")
    life.sets = BOTH
    await life.begin()
    return life


@settings(
    max_examples=3,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plan=arrivals())
async def test_rows_follow_from_candles_that_are_packed_meanwhile(store: Store, plan: Plan) -> None:
    life = await begun(store)

    async def packs(hour: int) -> None:
        if hour % 4 == 0:
            await pack(store.writers)

    await life.check(await life.live(plan, packs))


async def test_a_packed_record_goes_down_and_up_and_is_what_it_was(
    database_url: str, tmp_path: Path
) -> None:
    async with open_store(database_url, tmp_path) as store:
        life = await begun(store)
        told = [(tick, tick, one, True) for tick in range(LIVE) for one in range(3)]
        said = await life.live((told, ["wait"] * LIVE))
        await life.check(said)
    await packed(database_url)
    before = await contents(database_url)

    await asyncio.to_thread(migrate.downgrade, database_url, OLD)
    assert await contents(database_url) == before
    assert await asyncio.to_thread(migrate.current, database_url) == OLD
    await asyncio.to_thread(migrate.upgrade, database_url)

    async with open_store(database_url, tmp_path) as store:
        assert await contents(database_url) == before
        async with store.readers.acquire() as connection:
            assert await verify(connection) is None
            assert await compare(connection) == []
            audit = await audit_rows(connection, count=500, seed=7, since=EPOCH, sets=BOTH)
        assert (audit.differences, audit.left_out) == ((), 0)
        assert audit.rows > 400
