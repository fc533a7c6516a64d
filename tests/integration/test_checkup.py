"""`doctor` says which process does what, what nobody does, who is silent, and what differs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from backend.agreed import differences, fingerprint
from backend.api.status import Market, Status
from backend.checkup import orders, processes
from backend.settings import Settings
from backend.store.database import connect_pool
from backend.store.jobs import JobStore, Order
from backend.store.leases import open_leases
from backend.store.open_panels import announce
from backend.store.system_status import StatusStore, collectors_voice, hear, panel_voice
from backend.store.waiting import ABSENT_AFTER_S, why_waiting
from backend.told_status import LOST_AFTER_S, disagreements, spelled, take
from domain.market import Instrument, Timeframe
from tests.doubles import START, Impatient

COLLECTORS, HOURS, DAYS = (
    collectors_voice("binance"),
    panel_voice("binance|1h"),
    panel_voice("binance|1d"),
)
AGO = "UPDATE system_status SET told_at = told_at - $2 * interval '1 second' WHERE system = $1"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await connect_pool(database_url)
    yield pool
    await pool.close()


async def tell(pool: asyncpg.Pool, voice: str, process: str, settings: Settings) -> None:
    status = Status(market=Market.LIVE, instruments=(Instrument("binance", "BTC/USDT"),))
    told = spelled(status, process=process, settings=fingerprint(settings))
    await StatusStore(pool, voice).tell(told, START)


async def test_each_process_is_named_with_what_it_does(
    pool: asyncpg.Pool, database_url: str
) -> None:
    assert await processes(pool) == []
    await announce(pool, "binance", [Timeframe.H1, Timeframe.D1])
    few = Settings(training={"minimum_rows": 300})
    async with open_leases(database_url, "a:1") as one, open_leases(database_url, "b:2") as two:
        for leases, name, settings in (
            (one, COLLECTORS, Settings()), (two, HOURS, few), (two, DAYS, few),
        ):  # fmt: skip
            assert await leases.take(name) is not None
            await tell(pool, name, leases.holder, settings)
        for leases in (one, two):
            await leases.join()
        found = await processes(pool)
        await pool.execute(AGO, DAYS, LOST_AFTER_S)
        lease = await two.take("house")
        assert lease is not None
        await two.give_back(lease)
        quiet = await processes(pool)
    async with open_leases(database_url, "c:3") as three:
        assert await three.take(HOURS) is not None
        alone = await processes(pool)

    (differs,) = (one.detail for one in found if one.name == "settings")
    assert differs == ("setting training.minimum_rows differs: a:1 has one value; b:2 another")
    assert [(one.name, one.good, one.detail) for one in found if one.name != "settings"] == [
        ("process a:1", True, COLLECTORS),
        ("process b:2", True, f"{DAYS}, {HOURS}"),
        ("workers", True, "1 of 2 have no panel, and stand by"),
    ]
    assert [one.name for one in alone if one.name.startswith("process")] == ["process c:3"]
    (silent,) = (one for one in quiet if not one.good and one.name != "settings")
    assert (silent.name, silent.detail) == (DAYS, "b:2 has been silent for 10 s")
    assert [(one.name, one.detail) for one in alone if not one.good and one.name != "settings"] == [
        (COLLECTORS, "no process has it; a:1 had it last"),
        (DAYS, "no process has it; b:2 had it last"),
    ]


async def test_a_panel_that_is_stale_is_named_with_the_reason(pool: asyncpg.Pool) -> None:
    late, now = START + Timeframe.H1.duration, START + 2 * Timeframe.H1.duration
    names = [f"{letter}/USDT" for letter in "ABCDEFG"]
    members = tuple(Instrument("binance", name) for name in names)
    for voice, timeframe in ((HOURS, Timeframe.H1), (DAYS, Timeframe.D1)):
        status = Status(market=Market.LIVE, instruments=members, timeframes=(timeframe,))
        status.predicted(timeframe, members, late)
        await StatusStore(pool, voice).tell(spelled(status, process="b:2"), now)
    fresh = [one.name for one in await processes(pool) if one.detail.startswith("no fresh")]
    collecting = Status(market=Market.LIVE, instruments=members)
    collecting.away = lambda: {"binance": "binance: no connection"}
    told = spelled(collecting, process="a:1")
    await StatusStore(pool, COLLECTORS).tell(told, now + timedelta(seconds=31))
    stale = [one for one in await processes(pool) if one.detail.startswith("no fresh")]
    for voice in (COLLECTORS, HOURS, DAYS):
        await pool.execute(AGO, voice, LOST_AFTER_S)

    assert fresh == []
    assert [(one.name, one.good, one.detail) for one in stale] == [
        (
            HOURS,
            False,
            "no fresh prediction of A/USDT, B/USDT, C/USDT, D/USDT, E/USDT and 2 more since"
            " 2024-01-01T01:00:00.000Z; binance: no connection",
        )
    ]
    assert not any(one.detail.startswith("no fresh") for one in await processes(pool))


async def test_orders_for_nobody_say_who_is_missing_and_since_when(pool: asyncpg.Pool) -> None:
    """One process that does all speaks for all of its exchanges and panels."""
    store, gone = JobStore(pool), collectors_voice("kraken")
    order = Order(kind="backfill", request={}, caller="test", key=None)
    asked = [await store.enter(order, owners, at=START) for owners in ([gone, HOURS], [COLLECTORS])]
    names = [one.row["id"] for one in asked]
    everything = Status(
        market=Market.LIVE,
        instruments=(Instrument("binance", "BTC/USDT"),),
        timeframes=(Timeframe.H1,),
    )
    nobody = await orders(pool)
    await StatusStore(pool).tell(spelled(everything), START)
    some = await orders(pool)
    await tell(pool, gone, "a:1", Settings())
    none = await orders(pool)
    await pool.execute(AGO, gone, ABSENT_AFTER_S)
    (silent,) = await orders(pool)
    words = await why_waiting(pool, names)
    job = await store.next(gone, "backfill", at=START, wall=Impatient())
    assert job is not None
    await store.end(job, state="failed", result=None, detail="no", at=START)

    oldest = "1 of them, the oldest of 2024-01-01T00:00:00.000Z: no process has it"
    never = f"{oldest}, none spoke within an hour"
    missing = [f"orders for {one}" for one in (COLLECTORS, gone, HOURS)]
    assert [(one.name, one.good, one.detail) for one in nobody] == [
        (name, False, never) for name in missing
    ]
    assert [one.name for one in some] == [f"orders for {gone}"]
    assert none == []
    assert silent.detail.startswith(f"{oldest}, the last spoke at ")
    assert words.keys() == {names[0]}
    assert words[names[0]].startswith(f"waits for {gone}: no process has it, the last spoke at ")
    assert await orders(pool) == []


async def test_the_status_of_every_server_says_which_setting_differs(pool: asyncpg.Pool) -> None:
    await tell(pool, COLLECTORS, "a:1", Settings())
    await tell(pool, HOURS, "b:2", Settings(history_bars=300, port=9000))
    await tell(pool, DAYS, "b:2", Settings(history_bars=300, port=9000))
    heard, status = await hear(pool), Status(market=Market.LIVE)
    take(heard, status)
    silent = [one._replace(silent_s=LOST_AFTER_S) for one in heard if one.system != DAYS]

    line = "setting history_bars differs: a:1 has one value; b:2 another"
    assert status.notes == [line]
    assert disagreements(silent) == []
    standing_by = ("c:3", fingerprint(Settings(history_bars=400)))
    take(heard, status, standing_by)
    assert status.notes == [f"{line}; c:3 another"]


def test_who_meets_elsewhere_is_named() -> None:
    """Another prefix, or another cluster; other addresses of one cluster are its own matter."""
    mine = Settings(kafka={"prefix": "mine"}, bus_url="kafka://a:9092")
    ours = Settings(bus_url="kafka://b:9092")
    same = differences([("a:1", fingerprint(ours, "one")), ("b:2", fingerprint(ours, ""))])
    other = differences([("a:1", fingerprint(mine, "one")), ("b:2", fingerprint(ours, "two"))])

    assert same == []
    assert other == [
        "setting bus_url differs: a:1 has one value; b:2 another",
        "setting kafka.prefix differs: a:1 has one value; b:2 another",
    ]


def test_a_fingerprint_tells_no_secret_and_no_address() -> None:
    def of(secret: str) -> dict[str, str]:
        hook = {"url": "https://example.org/hook", "secret": f"whsec_{secret * 8}"}
        return fingerprint(Settings(notify={"channels": {"ops": hook}}))

    told = of("QUJD")

    assert told == of("REVG")
    assert not any(one.startswith(("database_url", "host", "port", "exchange")) for one in told)
