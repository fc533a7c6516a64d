"""A number that no row can have is the caller's mistake, wherever it is sent; never an outage."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from fastapi import FastAPI

from backend.api import problems
from tests.errands import PANEL, Errand, Office, errands
from tests.seats import Book
from tests.served_market import ServedMarket
from tests.subscriber import Client

BTC = "signals.1h.simulated.BTC/USDT"
TEXTS = (
    "99999999999", "9223372036854775808", "-1", "٣", "1_0", " 3", "1e400", "9" * 400,
    "served@99999999999", "served@-1", "served@٣", "served@1_0", "served@ 3",
)  # fmt: skip
IDS = (
    "1h.٣.simulated.2024-01-01T00:00:00Z.1.BTC/USDT",
    "1h.4.simulated.2024-01-01T00:00:00Z.٣.BTC/USDT",
    "1h.4.simulated.٢٠٢٤-01-01T00:00:00Z.1.BTC/USDT",
    "1h.999999.simulated.2024-01-01T00:00:00Z.999999999.BTC/USDT",
    "1h.9999999.simulated.2024-01-01T00:00:00Z.1.BTC/USDT",
)
NUMBERS = (2**31, 2**63, 2**64, 10**40, -1, True, 1.5, "٣", "99999999999", [2**70], [True])
PLACES = (2**31, 2**62, 2**63, 2**64 - 1, -1, -(2**63), True, 1.5, None)
GOOD = {
    "stream": BTC, "a": "served", "b": "class_prior.direction", "symbol": "simulated:BTC/USDT",
    "resolution": "60", "from": "1703894400", "to": "1703980800",
}  # fmt: skip
BODY = {
    "instruments": ["simulated:BTC/USDT"], "exchange": "simulated", "symbol": "BTC/USDT",
    "timeframe": "1h", "horizon": 4, "model": "lightgbm.direction", "start": "2023-12-30",
}  # fmt: skip
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def office(market: ServedMarket) -> AsyncIterator[Office]:
    work, market.state.patience_s = errands(Errand()), 0.0
    office = Office(market, {**work, PANEL: {**work[PANEL], "rollback": Book()}})
    yield office
    await office.close()


async def test_no_number_of_any_route_is_an_outage(rest: httpx.AsyncClient, office: Office) -> None:
    api = (await rest.get("/openapi.json")).json()
    answered = dict.fromkeys(("query", "path", "body"), 0)
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            for where, request in _requests(api, path, operation):
                answer = await rest.request(method, **request)
                assert answer.status_code < 500, (method, request, answer.text)
                answered[where] += 1
    assert min(answered.values()) > 100, answered


def _requests(api: Any, path: str, operation: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    named = {one["name"]: one["in"] for one in operation.get("parameters", ())}
    named = {name: where for name, where in named.items() if where in ("query", "path")}
    good = {name: GOOD[name] for name, where in named.items() if where == "query" and name in GOOD}
    for name, where in named.items():
        for text in TEXTS + IDS if where == "path" else TEXTS:
            of_path = {name: text} if where == "path" else {}
            asked = {**good, name: text} if where == "query" else good
            yield where, {"url": _filled(path, of_path), "params": asked}
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    model = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    fields = api["components"]["schemas"].get(model, {}).get("properties", {})
    sent = {name: value for name, value in BODY.items() if name in fields}
    for name in fields:
        for number in NUMBERS:
            body = json.dumps({**sent, name: number}).encode()
            yield "body", {"url": _filled(path, {}), "content": body, "headers": JSON}


def _filled(path: str, values: dict[str, str]) -> str:
    """A path with values in its places."""
    for name in {*GOOD, *values} | {"prediction", "id", "job"}:
        value = values.get(name, GOOD.get(name, IDS[3]))
        path = path.replace(f"{{{name}}}", quote(value, safe="/"))
    return path


@pytest.mark.parametrize("name", ["candles", "features", "predictions", "signals"])
async def test_a_forged_place_of_a_cursor_is_refused(rest: httpx.AsyncClient, name: str) -> None:
    cursor = (await rest.get(f"/v1/{name}?limit=1")).json()["next"]
    mark = orjson.loads(base64.urlsafe_b64decode(cursor + "=="))
    numbers = [place for place, value in enumerate(mark) if place > 1 and isinstance(value, int)]

    for place in numbers:
        for value in PLACES:
            answer = await rest.get(f"/v1/{name}?limit=1&cursor={_forged(mark, place, value)}")
            assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor"), value
    assert numbers


async def test_what_the_database_has_no_room_for_is_not_said_to_be_an_outage(
    market: ServedMarket,
) -> None:
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def ask() -> None:
        await market.pool.fetchval("SELECT $1::int", 2**40)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://any") as asking:
        answer = await asking.get("/")

    assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")
    assert answer.json()["temporary"] is False


def _forged(mark: list[Any], place: int, value: object) -> str:
    return base64.urlsafe_b64encode(
        orjson.dumps([*mark[:place], value, *mark[place + 1 :]])
    ).decode()


async def test_a_name_with_nul_leaves_its_connection(market: ServedMarket) -> None:
    async with market.connect() as socket:
        client = Client(socket)
        await client.next()
        refused = await client.ask("history", stream="signals.1h.simulated\0.BTC/USDT")
        page = await client.ask("history", 2, stream=BTC)

    assert (refused["error"]["code"], refused["error"]["status"]) == ("bad_request", 422)
    assert page["result"]["data"]
