"""One process at a time does what is leased, whoever dies, and who lost a lease commits nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from backend.hung import HUNG_AFTER_S, SURE_AFTER_S, Hung
from backend.store.database import connect, connect_pool
from backend.store.leases import Leases, open_leases
from backend.store.system_status import StatusStore, silent
from domain.errors import LeaseLostError, StoreUnavailableError, UsageError
from tests.doubles import START

NAME = "panel binance|1h"
TAKEN_LONG_AGO = """
UPDATE leases SET taken_at = clock_timestamp() - $2::float8 * interval '1 second' WHERE name = $1
"""
LONG_AGO = """
UPDATE system_status SET told_at = clock_timestamp() - $2::float8 * interval '1 second'
WHERE system = $1
"""


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[tuple[Leases, Leases]]:
    async with open_leases(database_url, "one") as one, open_leases(database_url, "two") as two:
        yield one, two


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(database_url)
    yield opened
    await opened.close()


async def kill(connection: asyncpg.Connection, leases: Leases) -> None:
    """End its session, as the server does when its process dies."""
    await connection.execute("SELECT pg_terminate_backend($1, 5000)", leases.pid)


async def test_one_has_it_until_it_gives_it_back(processes: tuple[Leases, Leases]) -> None:
    one, two = processes
    first = await one.take(NAME)
    assert first is not None
    refused, other = await two.take(NAME), await two.take("house")
    await one.give_back(first)
    second = await two.take(NAME)

    assert refused is None
    assert other is not None
    assert second is not None
    assert (first.generation, second.generation) == (1, 2)


async def test_it_is_free_when_its_holder_is_dead_and_the_dead_commits_nothing(
    processes: tuple[Leases, Leases], connection: asyncpg.Connection
) -> None:
    one, two = processes
    lost = await one.take(NAME)
    assert lost is not None
    async with connection.transaction():
        await lost.fence(connection)
    await kill(connection, one)
    taken = await two.take(NAME)
    assert taken is not None
    async with connection.transaction():
        await taken.fence(connection)

    with pytest.raises(LeaseLostError, match="panel binance"):
        async with connection.transaction():
            await lost.fence(connection)
    with pytest.raises(StoreUnavailableError, match="leases are lost"):
        await one.take("house")


async def test_a_taker_waits_for_a_commit_that_has_begun(
    processes: tuple[Leases, Leases], connection: asyncpg.Connection, database_url: str
) -> None:
    one, two = processes
    lease = await one.take(NAME)
    assert lease is not None
    begun = await connect(database_url)
    transaction = begun.transaction()
    await transaction.start()
    await lease.fence(begun)
    await kill(connection, one)
    taking = asyncio.create_task(two.take(NAME))
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with asyncio.timeout(60):
        while not await connection.fetchval(waits):  # noqa: ASYNC110 - another session's
            await asyncio.sleep(0.01)
    assert not taking.done()
    await transaction.commit()
    taken = await taking
    await begun.close()

    assert taken is not None
    assert taken.generation == 2


async def test_workers_are_counted_as_long_as_they_live(
    processes: tuple[Leases, Leases], connection: asyncpg.Connection, database_url: str
) -> None:
    one, two = processes
    for leases in processes:
        await leases.join()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(open_leases(database_url, "no worker"))
        both = await two.workers()
    await kill(connection, one)

    assert both == 2
    assert await two.workers() == 1


async def test_one_that_does_all_and_rooms_apart_keep_each_other_out(
    processes: tuple[Leases, Leases], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.store.leases.ENTER_EVERY_S", 0.001)
    one, two = processes
    async with open_leases(database_url, "all") as everything:
        await everything.enter(alone=True)
        with pytest.raises(UsageError, match="one process does all"):
            await one.enter(alone=False)
        with pytest.raises(UsageError, match="another system predicts"):
            await two.enter(alone=True)
    await one.enter(alone=False)
    await two.enter(alone=False)
    async with open_leases(database_url, "all") as everything:
        with pytest.raises(UsageError, match="another system predicts"):
            await everything.enter(alone=True)


async def test_those_who_go_by_another_clock_are_kept_out(
    processes: tuple[Leases, Leases], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by one that has taken nothing yet; two that come at once cannot both stay."""
    monkeypatch.setattr("backend.store.leases.ENTER_EVERY_S", 0.001)
    one, two = processes
    await one.go_by("exchange")
    with pytest.raises(UsageError, match=r"clock is system, .* goes by exchange: set"):
        await two.go_by("system")
    await two.go_by("exchange")
    async with open_leases(database_url, "three") as three:
        with pytest.raises(UsageError, match="goes by exchange"):
            await three.go_by("system")


async def test_a_clock_that_nobody_goes_by_any_more_keeps_nobody_out(
    processes: tuple[Leases, Leases], connection: asyncpg.Connection
) -> None:
    one, two = processes
    await one.go_by("system")
    coming = asyncio.create_task(two.go_by("exchange"))
    await kill(connection, one)

    await coming


async def test_who_has_just_died_is_waited_for(
    processes: tuple[Leases, Leases], connection: asyncpg.Connection
) -> None:
    one, two = processes
    await one.enter(alone=True)
    coming = asyncio.create_task(two.enter(alone=True))
    await kill(connection, one)

    await coming


async def test_who_hangs_loses_its_lease_and_who_speaks_does_not(
    processes: tuple[Leases, Leases], database_url: str
) -> None:
    one, two = processes
    pool = await connect_pool(database_url)
    elapsed = [0.0]
    for name in (NAME, "panel kraken|1h"):
        assert await one.take(name) is not None
        await StatusStore(pool, name).tell({}, START)
    await pool.execute(LONG_AGO, NAME, HUNG_AFTER_S + 1)
    fresh = await silent(pool, [NAME], for_s=HUNG_AFTER_S)  # the word is of who had it before
    await pool.execute(TAKEN_LONG_AGO, NAME, HUNG_AFTER_S + 1)
    hung = Hung(two, pool, lambda: elapsed[0])
    await hung.look([NAME, "panel kraken|1h"])
    early = await two.take(NAME)
    elapsed[0] = SURE_AFTER_S
    await hung.look(["panel kraken|1h"])  # it speaks, whatever it did before
    spoken = await two.take("panel kraken|1h")
    await hung.look([NAME])
    elapsed[0] = 2 * SURE_AFTER_S
    await hung.look([NAME])
    taken = None
    async with asyncio.timeout(60):
        while taken is None:
            taken = await two.take(NAME)
    await pool.close()

    assert fresh == []
    assert early is None
    assert spoken is None
    assert taken.generation == 2
