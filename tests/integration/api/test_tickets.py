"""Tickets of browsers, and pages of other sites: who was let in once, and who may ask at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
import websockets

from backend.api.tickets import MOST, Tickets
from domain.keys import ApiKey, KeyScope
from tests.doubles import START
from tests.keyed import KeyedMarket, keyed, turned_away
from tests.subscriber import Client

APP = "https://app.example"
SPOKEN = "alphapulse.v1.json"


@pytest.fixture
async def doors(market_url: str) -> AsyncIterator[KeyedMarket]:
    async with keyed(market_url, origins=(APP,)) as served:
        yield served


async def ticket(doors: KeyedMarket, key: ApiKey) -> str:
    async with doors.client(key) as client:
        answer = await client.post("/v1/ws-tickets")
    (row,) = answer.json()["data"]
    assert row["expires_at"] == "2024-01-01T00:00:30.000Z"
    assert answer.headers["cache-control"] == "no-store"
    text: str = row["ticket"]
    return text


def offered(text: str) -> list[str]:
    return [SPOKEN, f"alphapulse.ticket.{text}"]


async def test_a_ticket_opens_one_connection_of_its_key(doors: KeyedMarket) -> None:
    key = await doors.key(instruments=("simulated:BTC/USDT",))
    text = await ticket(doors, key)

    async with doors.market.connect(subprotocols=offered(text)) as socket:
        client = Client(socket)
        welcome = await client.next()
        granted = await client.ask("subscribe", streams=["signals.*.*.*"], snapshot=False)
        async with doors.market.connect(subprotocols=offered(text)) as again:
            refused = await turned_away(again)

    assert (socket.subprotocol, welcome["type"]) == (SPOKEN, "welcome")
    assert [one["stream"] for one in granted["result"]["streams"]] == [
        "signals.1h.simulated.BTC/USDT"
    ]
    assert refused == (4401, "unauthorized")


async def test_a_ticket_may_be_the_first_frame(doors: KeyedMarket) -> None:
    text = await ticket(doors, await doors.key())

    async with doors.market.connect() as socket:
        assert (await Client(socket).ask("auth", token=text))["type"] == "welcome"


async def test_a_ticket_is_void_after_its_time_and_with_its_key(doors: KeyedMarket) -> None:
    revoked = await doors.key()
    texts = [await ticket(doors, await doors.key()), await ticket(doors, revoked), "apt_none"]
    await doors.keys.revoke(revoked.id, at=START)
    doors.wall.advance(timedelta(seconds=2))
    codes = []
    for text in texts[1:]:
        async with doors.market.connect(subprotocols=offered(text)) as socket:
            codes.append((await turned_away(socket))[0])
    doors.wall.advance(timedelta(seconds=28))
    async with doors.market.connect(subprotocols=offered(texts[0])) as socket:
        codes.append((await turned_away(socket))[0])

    assert codes == [4401] * 3


async def test_a_ticket_is_for_who_may_listen_and_no_key_of_rest(doors: KeyedMarket) -> None:
    text = await ticket(doors, await doors.key())
    async with doors.client(await doors.key(scopes=[KeyScope.READ])) as client:
        assert (await client.post("/v1/ws-tickets")).status_code == 403
    async with doors.client(None, Authorization=f"Bearer {text}") as client:
        assert (await client.get("/v1/status")).status_code == 401


def test_open_tickets_take_a_bounded_room() -> None:
    tickets = Tickets()
    caller = None
    issued = [tickets.issue(caller, 0.0) for _ in range(MOST + 1)]  # type: ignore[arg-type]

    assert len(set(issued)) == MOST + 1
    assert len(tickets._open) == MOST
    tickets.issue(caller, 30.0)  # type: ignore[arg-type]
    assert len(tickets._open) == 1


async def asked(client: httpx.AsyncClient, origin: str, method: str = "GET") -> httpx.Response:
    return await client.options(
        "/v1/candles",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization",
        },
    )


async def test_a_listed_origin_may_ask_and_no_other(doors: KeyedMarket) -> None:
    async with doors.client() as nobody, doors.client(await doors.key()) as known:
        allowed, strange = await asked(nobody, APP), await asked(nobody, "https://evil.example")
        put = await asked(nobody, APP, "PUT")
        answers = [
            await client.get("/v1/candles", headers={"Origin": APP}) for client in (nobody, known)
        ]
        theirs = await known.get("/v1/candles", headers={"Origin": "https://evil.example"})

    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == APP
    assert "Authorization" in allowed.headers["access-control-allow-headers"]
    assert strange.status_code == put.status_code == 400
    assert "access-control-allow-origin" not in strange.headers
    assert [one.status_code for one in answers] == [401, 200]
    for one in answers:
        assert one.headers["access-control-allow-origin"] == APP
        assert "RateLimit" in one.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in one.headers
        assert "Origin" in one.headers["vary"]
    assert "access-control-allow-origin" not in theirs.headers


async def test_without_origins_no_page_of_another_site_may_ask(market_url: str) -> None:
    async with keyed(market_url) as doors, doors.client(await doors.key()) as client:
        preflight = await asked(client, APP)
        answer = await client.get("/v1/candles", headers={"Origin": APP})

    assert preflight.status_code == 405
    for one in (preflight, answer):
        assert not any(name.startswith("access-control") for name in one.headers)


async def test_a_page_of_a_listed_origin_may_listen_and_no_other(doors: KeyedMarket) -> None:
    text = await ticket(doors, await doors.key())
    with pytest.raises(websockets.InvalidStatus, match="403"):
        async with doors.market.connect(subprotocols=offered(text), origin="https://evil.example"):
            pass
    async with doors.market.connect(subprotocols=offered(text), origin=APP) as socket:
        assert (await Client(socket).next())["type"] == "welcome"


async def test_a_page_of_a_listed_origin_changes_something_with_a_key_alone(
    market_url: str,
) -> None:
    async with (
        keyed(market_url, require_keys=False, origins=(APP,)) as doors,
        doors.client(None, Origin=APP) as page,
        doors.client(await doors.key(scopes=[KeyScope.OPERATE]), Origin=APP) as known,
    ):
        orders = [
            await one.post("/v1/instruments", json={"symbol": "SOL/USDT"}) for one in (page, known)
        ]

    assert [one.status_code for one in orders] == [403, 503]
