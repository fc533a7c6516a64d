"""Who opens a socket says who it is, and hears the streams of its own instruments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest

from backend.api.limits import Limits
from backend.api.watch import look
from domain.keys import ApiKey, KeyScope
from tests.doubles import START
from tests.keyed import KeyedMarket, keyed, turned_away
from tests.served_market import TICKS
from tests.subscriber import Client

BTC_STREAMS = [
    f"{channel}.1h.simulated.BTC/USDT" for channel in ("candles", "predictions", "signals")
]
MINE = ("simulated:BTC/USDT",)


@pytest.fixture
async def doors(market_url: str) -> AsyncIterator[KeyedMarket]:
    async with keyed(market_url) as served:
        yield served


def bearer(key: ApiKey) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.spelt()}"}


async def test_who_shows_no_valid_key_hears_nothing(doors: KeyedMarket) -> None:
    revoked, expired = await doors.key(), await doors.key(expires_at=START + timedelta(hours=1))
    await doors.keys.revoke(revoked.id, at=START)
    doors.wall.advance(timedelta(hours=1))
    for key, code in (
        (ApiKey.fresh(), "unauthorized"),
        (revoked, "unauthorized"),
        (expired, "token_expired"),
    ):
        async with doors.market.connect(additional_headers=bearer(key)) as socket:
            assert await turned_away(socket) == (4401, code)
        async with doors.market.connect() as socket:
            await socket.send(orjson.dumps(auth(key)).decode())
            assert await turned_away(socket) == (4401, code)
    for frame in ('{"id": 1, "method": "subscribe", "params": {"streams": ["*"]}}', "{", "[]", b""):
        async with doors.market.connect() as socket:
            await socket.send(frame)
            assert await turned_away(socket) == (4401, "unauthorized")


def auth(key: ApiKey) -> dict[str, Any]:
    return {"id": "a", "method": "auth", "params": {"token": key.spelt()}}


async def test_who_says_nothing_is_not_waited_for(market_url: str) -> None:
    async with (
        keyed(market_url, limits=Limits(auth_ms=20)) as doors,
        doors.market.connect() as socket,
    ):
        assert await turned_away(socket) == (4401, "unauthorized")
        assert doors.market.state.hub.connections == set()


async def test_a_key_without_the_scope_hears_nothing(doors: KeyedMarket) -> None:
    key = await doors.key(scopes=[KeyScope.READ, KeyScope.OPERATE])

    async with doors.market.connect(additional_headers=bearer(key)) as socket:
        assert await turned_away(socket) == (4403, "forbidden")


async def test_the_first_frame_may_say_who_it_is(doors: KeyedMarket) -> None:
    key = await doors.key()
    async with doors.market.connect() as socket:
        client = Client(socket)
        welcome = await client.ask("auth", "a", token=key.spelt())
        reply = await client.next()
        granted = await client.ask("subscribe", streams=BTC_STREAMS, snapshot=False)

    assert welcome["type"] == "welcome"
    assert (reply["id"], reply["method"], reply["result"]["streams"]) == ("a", "auth", [])
    assert [one["stream"] for one in granted["result"]["streams"]] == BTC_STREAMS


@asynccontextmanager
async def heard(doors: KeyedMarket, key: ApiKey) -> AsyncIterator[Client]:
    """A client that was welcomed."""
    async with doors.market.connect(additional_headers=bearer(key)) as socket:
        client = Client(socket)
        assert (await client.next())["type"] == "welcome"
        yield client


async def test_a_key_of_some_instruments_hears_their_streams_alone(doors: KeyedMarket) -> None:
    async with heard(doors, await doors.key(instruments=MINE)) as client:
        granted = await client.ask("subscribe", streams=["*", "*.*.*.*"], snapshot=False)
        asked = ["signals.1h.simulated.ETH/USDT", "signals.1h.simulated.ETA/USDT", "gaps"]
        refused = await client.ask("subscribe", streams=asked)
        await doors.market.tick(TICKS)
        updates = [await client.next() for _ in BTC_STREAMS]

    assert sorted(one["stream"] for one in granted["result"]["streams"]) == BTC_STREAMS
    hidden, absent, gaps = refused["error"]["rejected"]
    assert hidden["error"] == absent["error"]
    assert gaps["error"]["code"] == "unknown_stream"
    assert sorted(one["stream"] for one in updates) == BTC_STREAMS


async def test_a_stream_that_comes_to_be_joins_who_may_hear_it(doors: KeyedMarket) -> None:
    hub = doors.market.state.hub
    async with (
        heard(doors, await doors.key(instruments=MINE)) as some,
        heard(doors, await doors.key()) as every,
    ):
        for client in (some, every):
            await client.ask("subscribe", streams=["*.*.*.*"], snapshot=False)
        (event, *_) = await doors.market.commit(TICKS)
        for symbol in ("ETH/USDT", "BTC/USDT"):
            hub.publish([event._replace(stream=f"fresh.1h.simulated.{symbol}", offset=1)])

        told = [await some.next(), await some.next()]
        whole = [await every.next() for _ in range(4)]

    assert [one["stream"] for one in told] == ["fresh.1h.simulated.BTC/USDT"] * 2
    assert [one["type"] for one in whole] == ["joined", "update"] * 2


async def test_the_past_of_a_stream_is_for_who_may_hear_it(doors: KeyedMarket) -> None:
    mine = await doors.key(instruments=MINE)
    hidden, absent = (f"signals.1h.simulated.{one}/USDT" for one in ("ETH", "ETA"))
    async with heard(doors, mine) as client, doors.client(mine) as rest:
        own = await client.ask("history", stream=BTC_STREAMS[2])
        told = [await client.ask("history", stream=one) for one in (hidden, absent)]
        answers = [
            await rest.get(f"/v1/streams/{one}/{what}")
            for what in ("head", "events")
            for one in (hidden, absent)
        ]
        assert (await rest.get(f"/v1/streams/{BTC_STREAMS[2]}/head")).status_code == 200

    assert len(own["result"]["data"]) == TICKS
    details = [one["error"]["detail"] for one in told] + [one.json()["detail"] for one in answers]
    assert len({one.replace("ETH/", "ETA/") for one in details}) == 1
    assert "ETH/USDT" not in str([one.json()["suggestions"] for one in answers])
    assert {one.status_code for one in answers} == {404}


async def test_the_sockets_of_a_revoked_key_end_and_no_others(doors: KeyedMarket) -> None:
    theirs, mine = await doors.key(), await doors.key()
    async with heard(doors, theirs) as ended, heard(doors, mine) as kept:
        await doors.keys.revoke(theirs.id, at=START)
        doors.wall.advance(timedelta(seconds=1))
        await look(doors.market.state)

        assert await turned_away(ended.socket) == (4401, "unauthorized")
        assert (await kept.ask("ping"))["type"] == "pong"


async def test_the_socket_of_an_expired_key_is_asked_to_come_back(doors: KeyedMarket) -> None:
    key = await doors.key(expires_at=START + timedelta(hours=1))
    async with heard(doors, key) as client:
        doors.wall.advance(timedelta(hours=1))
        await look(doors.market.state)

        assert await turned_away(client.socket) == (4510, "token_expired")


async def test_a_key_has_so_many_sockets_and_no_more(doors: KeyedMarket) -> None:
    key = await doors.key(connections=1)
    async with (
        heard(doors, key),
        doors.market.connect(additional_headers=bearer(key)) as second,
        heard(doors, await doors.key()),
    ):
        assert await turned_away(second) == (4409, "too_many_connections")


async def test_a_connection_that_takes_another_key_takes_one_of_its_sockets(
    doors: KeyedMarket,
) -> None:
    small, large = await doors.key(connections=1), await doors.key()
    async with heard(doors, large) as first, heard(doors, large) as second:
        taken = await first.ask("auth", token=small.spelt())
        again = await first.ask("auth", token=small.spelt())
        refused = await second.ask("auth", token=small.spelt())
    await look(doors.market.state)
    rows = await doors.market.pool.fetch("SELECT caller, path, outcome FROM audit_log")

    assert (taken["ok"], again["ok"]) == (True, True)
    assert refused["error"]["code"] == "too_many_connections"
    assert [tuple(row) for row in rows] == [(small.id, "/ws", 409)]


async def test_a_connection_goes_on_with_another_key_that_hears_what_it_holds(
    doors: KeyedMarket,
) -> None:
    old, new = await doors.key(instruments=MINE), await doors.key(instruments=("*:BTC/*",))
    others = [
        await doors.key(instruments=("*:ETH/*",)),
        await doors.key(scopes=[KeyScope.READ]),
        ApiKey.fresh(),
    ]
    async with heard(doors, old) as client:
        await client.ask("subscribe", streams=["signals.*.*.*"], snapshot=False)
        refused = [await client.ask("auth", token=key.spelt()) for key in others]
        renewed = await client.ask("auth", token=new.spelt())
        await doors.keys.revoke(old.id, at=START)
        doors.wall.advance(timedelta(seconds=1))
        await look(doors.market.state)
        pong = await client.ask("ping")

    assert [one["error"]["code"] for one in refused] == ["forbidden", "forbidden", "unauthorized"]
    assert [one["stream"] for one in renewed["result"]["streams"]] == [BTC_STREAMS[2]]
    assert pong["type"] == "pong"


async def test_the_day_of_its_last_use_is_noted(doors: KeyedMarket) -> None:
    used, idle = await doors.key(), await doors.key()
    async with heard(doors, used):
        await look(doors.market.state)

    days = {one.id: one.last_used for one in await doors.keys.every()}
    assert (days[used.id], days[idle.id]) == (START.date(), None)
