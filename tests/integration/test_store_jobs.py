"""A part of a job is its owner's: whoever has lost the lease ends nothing, the next takes it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from backend import background
from backend.api.status import Market, Status
from backend.jobs import LOOK_EVERY, Bell, Jobs, Note, Outcome, Work
from backend.orders import Orders
from backend.store import migrate
from backend.store.database import connect_pool
from backend.store.jobs import Job, JobStore, Order
from backend.store.leases import open_leases
from backend.store.registry import Registry
from backend.store.system_status import Told
from backend.told_status import spelled
from domain.errors import LeaseLostError, UnknownExchangeError, UnknownSymbolError, UsageError
from domain.market import Instrument, Timeframe
from tests.doubles import START, Impatient, ManualClock
from tests.processes import WITHIN_S
from tests.tcp_proxy import TcpProxy

ONE, OTHER = "panel binance|1h", "panel binance|4h"
SECOND = timedelta(seconds=1)
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted"
ROW = "SELECT state, attempts, result, detail, started_at, ended_at FROM jobs WHERE id = $1"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect_pool(database_url)
    yield pool
    await pool.close()


def order(kind: str = "retrain", key: str | None = None, **request: Any) -> Order:
    return Order(kind=kind, request=request, caller="test", key=key)


async def entered(store: JobStore, *owners: str) -> str:
    return str((await store.enter(order(), owners, at=START)).row["id"])


async def took(store: JobStore, owner: str) -> Job:
    job = await store.next(owner, "retrain", at=START + SECOND, wall=Impatient())
    assert job is not None
    return job


async def test_each_owner_takes_its_part_and_the_job_ends_with_the_last(
    pool: asyncpg.Pool,
) -> None:
    store = JobStore(pool)
    name = await entered(store, ONE, OTHER)
    waiting = await store.waiting([ONE, OTHER, "panel kraken|1h"])
    one = await took(store, ONE)
    await store.note(one, {"done": 1, "total": 2}, at=START)
    await store.end(one, state="done", result=["a"], detail=None, at=START + 2 * SECOND)
    between = await pool.fetchrow(ROW, name)
    other = await took(store, OTHER)
    await store.end(other, state="failed", result=None, detail="no", at=START + 3 * SECOND)
    after = await pool.fetchrow(ROW, name)

    assert waiting == {(ONE, "retrain"), (OTHER, "retrain")}
    assert await store.next("panel kraken|1h", "retrain", at=START, wall=Impatient()) is None
    assert await store.next(ONE, "retrain", at=START, wall=Impatient()) is None
    assert (between["state"], between["started_at"]) == ("running", START + SECOND)
    assert (after["state"], after["result"], after["detail"]) == ("done", '["a"]', "no")
    assert after["ended_at"] == START + 3 * SECOND


async def test_a_job_is_taken_once_though_the_answer_is_lost(
    pool: asyncpg.Pool, proxy: TcpProxy
) -> None:
    name = await entered(JobStore(pool), ONE)
    beyond = await connect_pool(proxy.url, size=1)
    proxy.cut_after = b"COMMIT;"
    job = await took(JobStore(beyond), ONE)
    await beyond.close()

    assert (proxy.cuts, job.id, job.attempt) == (1, name, 1)
    assert (await pool.fetchrow(ROW, name))["attempts"] == 1


async def test_two_parts_that_end_at_once_end_the_job(pool: asyncpg.Pool) -> None:
    store = JobStore(pool)
    names = [await entered(store, ONE, OTHER) for _ in range(10)]
    for _ in names:
        jobs = [await took(store, one) for one in (ONE, OTHER)]
        await asyncio.gather(
            *(store.end(one, state="done", result=None, detail=None, at=START) for one in jobs)
        )

    assert [await pool.fetchval("SELECT state FROM jobs WHERE id = $1", one) for one in names] == [
        "done"
    ] * len(names)


async def test_who_has_lost_the_lease_takes_and_ends_nothing(
    pool: asyncpg.Pool, database_url: str
) -> None:
    async with open_leases(database_url, "one") as one, open_leases(database_url, "two") as two:
        before = await one.take(ONE)
        assert before is not None
        zombie = JobStore(pool, before.fence)
        name = await entered(zombie, ONE)
        begun = await took(zombie, ONE)
        await zombie.note(begun, {"done": 1, "total": 2}, at=START)
        await one.give_back(before)
        now = await two.take(ONE)
        assert now is not None
        for late in (
            zombie.end(begun, state="done", result=["late"], detail=None, at=START),
            zombie.note(begun, {"done": 2, "total": 2}, at=START),
            zombie.next(ONE, "retrain", at=START, wall=Impatient()),
        ):
            with pytest.raises(LeaseLostError):
                await late
        next_one = JobStore(pool, now.fence)
        again = await took(next_one, ONE)
        await next_one.end(again, state="done", result=["once"], detail=None, at=START)

    row = await pool.fetchrow(ROW, name)
    assert (again.id, again.attempt, again.progress) == (name, 2, {"done": 1, "total": 2})
    assert (row["state"], row["result"], row["attempts"]) == ("done", '["once"]', 2)


async def test_a_key_is_of_one_job_whichever_process_hears_it(database_url: str) -> None:
    pools = [await connect_pool(database_url) for _ in range(2)]
    asked = await asyncio.gather(
        *(
            JobStore(pools[number % 2]).enter(order(key="monday"), [ONE], at=START)
            for number in range(20)
        )
    )
    parts = await pools[0].fetchval("SELECT count(*) FROM job_parts")
    for pool in pools:
        await pool.close()

    assert len({one.row["id"] for one in asked}) == 1
    assert sum(not one.replayed for one in asked) == 1
    assert parts == 1


def said(exchange: str, *timeframes: Timeframe) -> Told:
    status = Status(
        market=Market.LIVE,
        instruments=(Instrument(exchange, "BTC/USDT"),),
        timeframes=timeframes,
        horizons=(4,),
    )
    return Told(f"collectors of {exchange}", spelled(status), START, 0.0)


HEARD = [said("binance", Timeframe.H1, Timeframe.H4), said("kraken", Timeframe.H1)]


def orders(pool: asyncpg.Pool, heard: list[Told]) -> Orders:
    return Orders(JobStore(pool), Registry(pool), heard=lambda: heard, clock=ManualClock())


@pytest.mark.parametrize(
    ("asked", "owners"),
    [
        (order(), [ONE, OTHER, "panel kraken|1h"]),
        (order(timeframe="1h", horizon=4), [ONE, "panel kraken|1h"]),
        (order("backfill", exchange="kraken", symbol="BTC/USDT"), ["collectors of kraken"]),
        (order("add", symbol="ETH/USDT"), ["collectors of binance", "collectors of kraken"]),
        (order("remove", exchange="kraken", symbol="X/Y"), ["collectors of kraken"]),
    ],
)
async def test_an_order_is_of_the_owners_of_what_it_is_about(
    pool: asyncpg.Pool, asked: Order, owners: list[str]
) -> None:
    job = await orders(pool, HEARD).ask(asked)

    parts = await JobStore(pool).parts(job.row["id"])
    assert [part.owner for part in parts] == sorted(owners)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (order(horizon=8), UsageError),
        (order(exchange="krake"), UnknownExchangeError),
        (order("backfill", exchange="kraken", symbol="BTC/USD"), UnknownSymbolError),
        (order("backfill", exchange="kraken", symbol="BTC/USDT", timeframe="4h"), UsageError),
        (order("add", exchange="coinbase", symbol="BTC/USDT"), UnknownExchangeError),
        (order("rollback", model="lightgbm.direction"), UsageError),
    ],
)
async def test_what_is_about_nothing_that_there_is_makes_no_job(
    pool: asyncpg.Pool, asked: Order, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await orders(pool, HEARD).ask(asked)
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 0


async def test_what_an_older_release_was_asked_finds_owners_or_an_end(pool: asyncpg.Pool) -> None:
    store = JobStore(pool)
    whole, gone = await entered(store, ONE), await entered(store, ONE)
    await pool.execute("DELETE FROM job_parts")
    await pool.execute("UPDATE jobs SET request = $2 WHERE id = $1", gone, '{"horizon": 8}')
    await orders(pool, HEARD).adopt()
    await orders(pool, HEARD).adopt()

    assert len(await store.parts(whole)) == 3
    row = await pool.fetchrow(ROW, gone)
    assert row["state"] == "failed"
    assert "nothing is predicted there" in row["detail"]


async def test_orders_are_done_as_they_were_entered_whatever_the_clocks_of_those_who_entered_them(
    pool: asyncpg.Pool,
) -> None:
    store = JobStore(pool)
    kinds, hours = ("add", "remove", "add"), (3, 1, 2)
    names = [
        (await store.enter(order(kind), [ONE], at=START + timedelta(hours=hour))).row["id"]
        for kind, hour in zip(kinds, hours, strict=True)
    ]
    done = []
    for _ in names:
        job = await store.next(ONE, "add", "remove", at=START, wall=Impatient())
        assert job is not None
        await store.end(job, state="done", result=None, detail=None, at=START)
        done.append(job.id)

    assert done == names


async def test_orders_of_before_the_migration_are_done_by_their_times_and_before_those_after_it(
    pool: asyncpg.Pool, database_url: str
) -> None:
    store, hours = JobStore(pool), (2, 3, 1)
    before = {
        hour: (await store.enter(order(), [ONE], at=START + timedelta(hours=hour))).row["id"]
        for hour in hours
    }
    await asyncio.to_thread(migrate.downgrade, database_url, "0028")
    await asyncio.to_thread(migrate.upgrade, database_url)
    await pool.expire_connections()  # what they have planned is of before
    after = await entered(store, ONE)

    rows = await pool.fetch("SELECT id, number FROM jobs ORDER BY number")
    assert [row["id"] for row in rows] == [*(before[hour] for hour in sorted(hours)), after]
    assert [row["number"] for row in rows] == [1, 2, 3, 4]


async def test_what_nobody_has_begun_is_cancelled_and_the_rest_goes_on(
    pool: asyncpg.Pool,
) -> None:
    store = JobStore(pool)
    whole, half = await entered(store, ONE), await entered(store, ONE, OTHER)
    begun = await took(store, OTHER)
    counts = [await store.cancel(name, "cancelled by me", at=START) for name in (whole, half, half)]
    first, second = [await pool.fetchrow(ROW, name) for name in (whole, half)]
    await store.end(begun, state="done", result=None, detail=None, at=START)

    assert counts == [1, 1, 0]
    assert await store.next(ONE, "retrain", at=START, wall=Impatient()) is None
    assert (first["state"], first["detail"], first["attempts"]) == ("failed", "cancelled by me", 0)
    assert (first["started_at"], first["ended_at"]) == (None, START)
    assert (begun.id, second["state"], second["ended_at"]) == (half, "running", None)
    assert (await pool.fetchrow(ROW, half))["state"] == "done"


async def test_what_is_cancelled_while_it_is_taken_is_not_begun(pool: asyncpg.Pool) -> None:
    store = JobStore(pool)
    name = await entered(store, ONE)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "UPDATE job_parts SET state = 'failed', detail = 'cancelled' WHERE job_id = $1", name
        )
        taking = asyncio.create_task(store.next(ONE, "retrain", at=START, wall=Impatient()))
        async with asyncio.timeout(WITHIN_S):
            while not await pool.fetchval(BLOCKED):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.001)

    assert await taking is None
    parts = await store.parts(name)
    assert [(part.state, part.attempts) for part in parts] == [("failed", 0)]


async def test_nobody_waits_for_what_was_given_up(pool: asyncpg.Pool) -> None:
    store = JobStore(pool)
    name = await entered(store, ONE, OTHER)
    await took(store, ONE)
    await store.give_up("test", "it began anew", at=START)
    await store.give_up("test", "again", at=START)

    row = await pool.fetchrow(ROW, name)
    assert (row["state"], row["detail"]) == ("failed", "it began anew")
    assert await store.next(ONE, "retrain", at=START, wall=Impatient()) is None


class Nothing:
    """Work that is done at once."""

    async def do(self, job: Job, note: Note) -> Outcome:
        del job, note
        return Outcome(result=None)


async def test_a_look_for_jobs_that_fails_as_nobody_foresaw_is_made_again(
    pool: asyncpg.Pool,
) -> None:
    store, wall = JobStore(pool), ManualClock()
    name = await entered(store, ONE)
    bell = Bell(store, wall)
    queues: list[dict[str, Work]] = [{"retrain": Nothing()}]
    jobs = Jobs(store, ONE, queues, bell=bell, clock=ManualClock(), wall=wall)
    works = ["the jobs of panel binance|1h (retrain)", "the look for orders"]
    await pool.execute("ALTER TABLE job_parts RENAME TO away")
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(WITHIN_S):
        running = [tasks.create_task(one.run()) for one in (jobs, bell)]
        while failing() != works:  # noqa: ASYNC110 - tasks of ours say so
            await asyncio.sleep(0.001)
        await pool.execute("ALTER TABLE away RENAME TO job_parts")
        while await pool.fetchval("SELECT state FROM jobs WHERE id = $1", name) != "done":
            wall.advance(LOOK_EVERY)
            await asyncio.sleep(0.001)
        while failing():  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.001)
        for one in running:
            one.cancel()


def failing() -> list[str]:
    return sorted(one.reason.partition(" failed")[0] for one in background.troubles())
