"""A server that reads what another process writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from backend.api.limits import Limits
from backend.api.status import Market, Status
from backend.clock import ExchangeClock
from backend.replica import BLIND_AFTER_S, Replica
from backend.store.system_status import SOURCES, SYSTEM, StatusStore, Told, hear, keep_only
from backend.told_status import LOST_AFTER_S, spelled, take, troubles
from domain.errors import StoreError
from domain.market import Timeframe, rfc3339
from domain.sources import SourceState, SourceStatus
from domain.troubles import Trouble
from tests.doubles import START, ManualClock
from tests.errands import Errand, Office, errands
from tests.factories import BTC, SOL
from tests.served_market import HORIZON, MEMBERS, TICKS, ServedMarket, serving
from tests.subscriber import Client, ending

SIGNALS = "signals.1h.simulated.BTC/USDT"


@pytest.fixture
async def beside(market: ServedMarket, market_url: str) -> AsyncIterator[ServedMarket]:
    """A server on the database of `market`, with a state that knows nothing by itself."""
    async with serving(market_url, ManualClock()) as served:
        served.state.status = Status(market=Market.LIVE)
        yield served


async def told_by(market: ServedMarket, beside: ServedMarket) -> Replica:
    """The replica behind `beside`, once the system has said what it is."""
    await StatusStore(market.pool).tell(spelled(market.state.status), market.clock.now())
    clock = ExchangeClock(START, speed=1.0)
    replica = Replica(api=beside.state, clock=clock, readers=beside.pool, writers=beside.pool)
    await replica.begin()
    return replica


async def test_it_tells_what_the_system_commits(market: ServedMarket, beside: ServedMarket) -> None:
    replica = await told_by(market, beside)
    async with beside.connect() as socket, market.connect() as direct:
        ours, theirs = Client(socket), Client(direct)
        for client in (ours, theirs):
            await client.next()
            await client.ask("subscribe", streams=[SIGNALS], snapshot=False)
        await market.tick(TICKS)
        await replica.follow()
        told, wanted = await ours.next(), await theirs.next()

    assert told == wanted
    assert told["offset"] == TICKS + 1


async def test_its_status_is_what_the_system_says(
    market: ServedMarket, beside: ServedMarket
) -> None:
    await told_by(market, beside)
    async with beside.client() as here:
        ours = (await here.get("/v1/status")).json()["data"][0]
        ready = await here.get("/readyz")
        pool = await here.get("/v1/models/pool")
    async with market.client() as there:
        theirs = (await there.get("/v1/status")).json()["data"][0]
    for moving in ("now", "freshness"):
        ours.pop(moving), theirs.pop(moving)

    assert ours == theirs
    assert ready.status_code == httpx.codes.OK
    assert pool.json()["data"] == []


async def test_orders_are_entered_for_the_system_that_predicts(
    market: ServedMarket, beside: ServedMarket
) -> None:
    await told_by(market, beside)
    errand = Errand()
    errand.may_end.set()
    office = Office(market, errands(errand))
    office.open()
    async with beside.client() as client:
        asked = await client.post("/v1/retrains", json={"horizon": HORIZON})
        nothing = await client.post("/v1/retrains", json={"horizon": HORIZON + 1})
        office.bell.ring()  # as its look does
        async with asyncio.timeout(60):
            place = asked.headers["location"]
            while not (await client.get(place)).json()["data"][0]["result"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await office.close()

    assert asked.status_code == 202
    assert [job.request for job in errand.taken] == [{"horizon": HORIZON}]
    assert nothing.status_code == 422
    assert f"there is simulated 1hx{HORIZON}" in nothing.json()["detail"]


async def test_a_status_is_kept_as_it_was_said(market: ServedMarket) -> None:
    said = market.state.status
    said.notes.append("XRP/USDT is listed no more")
    said.predicted(Timeframe.H1, [SOL], START + timedelta(hours=1))
    source = SourceStatus(source="reddit", state=SourceState.DOWN, since=START, reason="429")
    said.sources = lambda: [source]
    said.report("warm-up 1h", 3, 7)
    store, heard = StatusStore(market.pool), Status(market=Market.LIVE)
    await store.tell(spelled(market.state.status), START)
    (told,) = await hear(market.pool)
    take([told], heard)

    assert told.now == START
    now = START + timedelta(hours=1)
    assert heard.newest == said.newest
    assert (heard.instruments, heard.timeframes) == (MEMBERS, (Timeframe.H1,))
    assert (heard.notes, heard.progress) == (said.notes, said.progress)
    assert list(heard.sources()) == [source]
    assert (heard.stale(now), heard.away()) == (said.stale(now), {})


async def test_one_that_says_nothing_more_is_said_to_be_silent(market: ServedMarket) -> None:
    heard = Status(market=Market.LIVE)
    told = spelled(market.state.status)
    take([Told(SYSTEM, told, START, LOST_AFTER_S)], heard)

    assert [*heard.away()] == [BTC.exchange]
    assert "silent for 10 s" in heard.away()[BTC.exchange]
    take([Told(SOURCES, spelled(Status(market=Market.LIVE)), START, LOST_AFTER_S)], heard)
    assert heard.away() == {SOURCES: "the process that asks sources has been silent for 10 s"}


async def test_several_processes_are_one_system(market: ServedMarket) -> None:
    collectors, panel = Status(market=Market.LIVE), Status(market=Market.LIVE)
    for one in (collectors, panel):
        one.instruments, one.timeframes = MEMBERS, (Timeframe.H1,)
    collectors.notes.append("a socket was lost")
    panel.predicted(Timeframe.H1, MEMBERS, START)
    await StatusStore(market.pool, "collectors of binance").tell(spelled(collectors), START)
    await StatusStore(market.pool, "panel binance|1h").tell(spelled(panel), START)
    ill = Trouble(about="broker", since=START, reason="it takes no ticks", grave=True)
    collectors.troubles.append(lambda: [ill])
    told_by = spelled(collectors, process="a:1")
    await StatusStore(market.pool, "collectors of binance").tell(told_by, START)
    heard = Status(market=Market.LIVE)
    told = await hear(market.pool)
    take([*told[:-1], told[-1]._replace(silent_s=LOST_AFTER_S)], heard)
    await keep_only(market.pool, ["panel binance|1h"])

    assert (heard.instruments, heard.timeframes) == (MEMBERS, (Timeframe.H1,))
    assert (heard.ready, heard.notes) == (True, ["a socket was lost"])
    assert troubles(told) == [replace(ill, reason="at a:1 it takes no ticks")]
    assert troubles([one._replace(silent_s=LOST_AFTER_S) for one in told]) == []
    assert heard.away() == {BTC.exchange: "the panel binance|1h has been silent for 10 s"}
    (silent, *_) = (one for one in told if one.system == "collectors of binance")
    take([silent._replace(silent_s=LOST_AFTER_S)], heard)
    assert heard.away() == {BTC.exchange: "the collectors of binance have been silent for 10 s"}
    assert [one.system for one in await hear(market.pool)] == ["panel binance|1h"]


async def test_what_is_the_same_is_not_written_again(market: ServedMarket) -> None:
    store, told = StatusStore(market.pool), spelled(market.state.status)
    await store.tell(told, START)
    before = await market.pool.fetchval("SELECT told::text FROM system_status")
    await market.pool.execute("UPDATE system_status SET told = '{}'")
    await store.tell(told, START + timedelta(seconds=1))
    after = await market.pool.fetchrow("SELECT told::text AS told, now FROM system_status")

    assert before != "{}"
    assert (after["told"], after["now"]) == ("{}", START + timedelta(seconds=1))


async def test_a_heartbeat_says_no_more_than_was_read(market_url: str) -> None:
    clock = ManualClock()
    async with serving(market_url, clock, limits=Limits(heartbeat_ms=20)) as served:
        market_clock = ExchangeClock(START, speed=0.0)
        replica = Replica(
            api=served.state, clock=market_clock, readers=served.pool, writers=served.pool
        )
        await replica.begin()
        async with served.connect() as socket:
            client = Client(socket)
            await client.next()
            clock.advance(timedelta(hours=3))  # of the machine: nothing was read meanwhile
            beat = await client.next()
            market_clock.set(START + timedelta(hours=2))
            await replica.follow()
            while (later := await client.next())["ts"] == beat["ts"]:
                pass

    assert (beat["type"], beat["ts"]) == ("heartbeat", rfc3339(START))
    assert later["ts"] == rfc3339(START + timedelta(hours=2))


async def test_who_listens_is_sent_away_while_the_log_cannot_be_read(
    market: ServedMarket, beside: ServedMarket
) -> None:
    replica = await told_by(market, beside)
    elapsed = [0.0]
    replica.monotonic = lambda: elapsed[0]
    await replica.follow()
    async with beside.connect() as socket:
        await Client(socket).next()
        elapsed[0] = BLIND_AFTER_S - 0.1
        replica.look()
        assert await (await socket.ping()) >= 0  # it is still there
        elapsed[0] = BLIND_AFTER_S
        replica.look()
        ended = await ending(socket)

    assert ended == (4501, {"code": "unavailable", "retry_ms": 1_000})
    (trouble,) = beside.state.status.trouble()
    assert (trouble.about, trouble.grave) == ("database", True)


async def test_a_migration_that_does_not_serve_it_ends_it(
    market: ServedMarket, beside: ServedMarket
) -> None:
    replica = await told_by(market, beside)
    await replica.refuse_foreign()
    await market.pool.execute("UPDATE alembic_version SET version_num = '9999'")
    await replica.refuse_foreign()
    await market.pool.execute("COMMENT ON TABLE alembic_version IS 'serves 9998'")

    with pytest.raises(StoreError, match=r"has schema 9999, this program needs .*: use a newer"):
        await replica.refuse_foreign()
