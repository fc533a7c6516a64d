"""Orders to watch more or less: who may give them, and what they are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from backend.store.instruments import Instruments
from domain.market import Instrument, Listing
from tests.doubles import START
from tests.factories import BTC
from tests.membership import NEW, Membership
from tests.served_market import ServedMarket

PATH = "/v1/instruments"


@pytest.fixture
async def book(market: ServedMarket) -> AsyncIterator[Membership]:
    book = Membership()
    office = book.office(market)
    office.open()
    yield book
    await office.close()


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    return answer.status_code, body["code"]


async def test_an_instrument_joins_and_is_said_to(
    market: ServedMarket, rest: httpx.AsyncClient, book: Membership
) -> None:
    asked = await rest.post(PATH, json=NEW)
    watched = await rest.post(PATH, json={"exchange": BTC.exchange, "symbol": BTC.symbol})

    assert (asked.status_code, asked.json()["data"]) == (202, [{**NEW, "state": "joining"}])
    assert (watched.status_code, watched.json()["data"][0]["state"]) == (200, "watched")
    assert book.joining == [Instrument(**NEW)]


async def test_a_letter_that_no_name_has_is_the_callers_mistake(
    rest: httpx.AsyncClient, book: Membership
) -> None:
    added = await rest.post(PATH, json={**NEW, "symbol": "A\0"})
    left = await rest.delete(PATH, params={"symbol": "A\0"})

    assert code(added) == code(left) == (422, "bad_request")
    assert book.joining == []


async def test_a_symbol_without_an_exchange_is_of_every_one_that_lists_it(
    market: ServedMarket, rest: httpx.AsyncClient, book: Membership
) -> None:
    added = await rest.post(PATH, json={"symbol": "BTC/USDT"})
    left = await rest.delete(PATH, params={"symbol": "BTC/USDT"})

    assert added.status_code == 202
    assert [(one["exchange"], one["state"]) for one in added.json()["data"]] == [
        ("other", "joining"), ("simulated", "watched"),
    ]  # fmt: skip
    assert [one["exchange"] for one in left.json()["data"]] == ["other", "simulated"]


async def test_the_list_tells_of_every_instrument_since_when_and_what_is_predicted(
    market: ServedMarket, rest: httpx.AsyncClient, book: Membership
) -> None:
    entered = Instruments(market.pool)
    gone = Instrument("simulated", "GONE/USDT")
    await entered.watch([Listing(instrument=BTC)], since=START)
    await entered.watch([Listing(instrument=gone)], since=START + timedelta(hours=1), added=True)
    await entered.unwatch(gone, until=START + timedelta(hours=2))

    rows = {row["symbol"]: row for row in (await rest.get(PATH)).json()["data"]}

    assert set(rows) == {BTC.symbol, gone.symbol}
    assert [rows[name]["state"] for name in (BTC.symbol, gone.symbol)] == ["watched", "left"]
    assert rows[BTC.symbol]["predicted"] == {"1h": "2024-01-01T00:00:00.000Z"}
    assert rows[gone.symbol]["watched_until"] == "2024-01-01T02:00:00.000Z"


async def test_an_instrument_leaves(rest: httpx.AsyncClient, book: Membership) -> None:
    named = {"exchange": BTC.exchange, "symbol": BTC.symbol}

    assert (await rest.delete(PATH, params=named)).status_code == 200
    assert book.left == [BTC]
    assert code(await rest.delete(PATH, params=NEW)) == (422, "bad_request")


async def test_what_cannot_be_is_a_problem(rest: httpx.AsyncClient, book: Membership) -> None:
    typo = await rest.post(PATH, json={**NEW, "symbol": "NWE/USDT"})

    assert code(typo) == (404, "unknown_symbol")
    assert typo.json()["suggestions"] == ["NEW/USDT"]
    away = await rest.post(PATH, json={**NEW, "symbol": "AWAY/USDT"})
    assert code(away) == (502, "unreachable")
    for body in ({}, {**NEW, "more": 1}, {**NEW, "symbol": ""}, [NEW]):
        assert code(await rest.post(PATH, json=body)) == (422, "bad_request")
    json = {"Content-Type": "application/json"}
    broken = await rest.post(PATH, content=b'{"symbol": }', headers=json)
    none = await rest.post(PATH)
    assert code(broken) == (400, "bad_json")
    assert "at character 11" in broken.json()["detail"]
    assert none.json()["detail"] == "body: a JSON object is required, sent as application/json"
    assert code(await rest.put(PATH, json=NEW)) == (405, "method_not_allowed")
    assert (await rest.put(PATH)).headers["allow"] == "GET, HEAD, POST, DELETE"


async def test_orders_wait_for_the_start(rest: httpx.AsyncClient, market: ServedMarket) -> None:
    assert market.state.orders is None

    assert code(await rest.post(PATH, json=NEW)) == (503, "starting")


async def test_no_page_of_another_origin_gives_orders(
    rest: httpx.AsyncClient, book: Membership
) -> None:
    theirs, ours = {"Origin": "http://evil.example"}, {"Origin": str(rest.base_url)}

    assert code(await rest.post(PATH, json=NEW, headers=theirs)) == (403, "forbidden")
    assert code(await rest.delete(PATH, params=NEW, headers=theirs)) == (403, "forbidden")
    assert not book.joining
    assert (await rest.post(PATH, json=NEW, headers=ours)).status_code == 202
