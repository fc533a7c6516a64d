"""Who shows no key, or not the right one, gets nothing on any route; others get their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from backend.api.access import FORWARDED
from backend.api.app import create_app
from backend.api.needs import CONNECT, NEEDS, PUBLIC, READ, needs_at
from backend.store import ledger, panels
from domain.account import Terms
from domain.keys import ApiKey, KeyScope
from tests.doubles import START
from tests.factories import BTC, ETH, SOL
from tests.keyed import KeyedMarket, keyed, turned_away
from tests.served_market import HORIZON, TICKS, ServedMarket, outcomes

MINE = ("simulated:BTC/USDT",)
FILLED = {
    "{stream:path}": "signals.1h.simulated.ETH/USDT",
    "{path:path}": "main.js",
    "{kind}": "regime",
    "{id:path}": f"1h.{HORIZON}.simulated.2024-01-01T00:00:00.000Z.1.ETH/USDT",
}
ORDER = {"symbol": "SOL/USDT", "model": "lightgbm.direction"}
DOORS = [
    (method, path, need)
    for path, needs in NEEDS.items()
    for method, need in needs.items()
    if method != CONNECT
]
CLOSED = [(method, path, need) for method, path, need in DOORS if need is not PUBLIC]


@pytest.fixture
async def doors(market_url: str) -> AsyncIterator[KeyedMarket]:
    async with keyed(market_url) as served:
        yield served


def spelt(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


async def ask(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    body: dict[str, Any] = {"json": ORDER} if method == "POST" else {}
    return await client.request(method, spelt(path), **body)


def routes(found: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Every path that is served, with each of its methods."""
    for route in found:
        if isinstance(route, WebSocketRoute):
            yield route.path, CONNECT
        elif isinstance(route, Mount):
            yield f"{route.path}/{{path:path}}", "GET"
        elif isinstance(route, Route):
            yield from ((route.path, method) for method in (route.methods or ()))
        else:  # of an included router
            yield from routes(route.original_router.routes)  # type: ignore[attr-defined]


async def test_every_route_says_what_it_needs(market: ServedMarket) -> None:
    served = {one for one in routes(create_app(market.state).routes) if one[1] != "HEAD"}

    assert served == {(path, method) for path, needs in NEEDS.items() for method in needs}


async def test_who_shows_no_valid_key_gets_nothing(doors: KeyedMarket) -> None:
    expired = await doors.key(expires_at=START + timedelta(hours=1))
    revoked = await doors.key()
    await doors.keys.revoke(revoked.id, at=START)
    doors.wall.advance(timedelta(hours=1))
    known = await doors.key()
    shown = {
        "": "unauthorized",
        "Bearer": "unauthorized",
        f"Basic {known.spelt()}": "unauthorized",
        known.spelt(): "unauthorized",
        f"Bearer {ApiKey.fresh().spelt()}": "unauthorized",
        f"Bearer {ApiKey(known.id, ApiKey.fresh().secret).spelt()}": "unauthorized",
        f"Bearer {expired.spelt()}": "token_expired",
        f"Bearer {revoked.spelt()}": "unauthorized",
    }

    async with doors.client() as client:
        for text, code in shown.items():
            client.headers = httpx.Headers({"Authorization": text} if text else {})
            for method, path, _ in CLOSED:
                answer = await ask(client, method, path)
                assert (answer.status_code, answer.json()["code"]) == (401, code), (text, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "secret" not in answer.text
        strange = await client.get("/v1/nothing")
        query = await client.get(f"/v1/status?key={known.spelt()}&authorization={known.spelt()}")

    assert strange.status_code == query.status_code == 401


async def test_a_key_without_the_scope_of_a_route_gets_nothing(doors: KeyedMarket) -> None:
    for scope in KeyScope:
        async with doors.client(await doors.key(scopes=[scope])) as client:
            for method, path, need in CLOSED:
                answer = await ask(client, method, path)
                refused = answer.status_code == 403 and answer.json()["code"] == "forbidden"
                assert refused == (need.scope is not scope), (scope, method, path, answer.text)


async def test_what_tells_of_all_instruments_is_not_for_a_key_of_some(doors: KeyedMarket) -> None:
    async with doors.client(await doors.key(scopes=KeyScope, instruments=MINE)) as client:
        for method, path, need in CLOSED:
            answer = await ask(client, method, path)
            assert (answer.status_code == 403) == need.whole, (method, path, answer.text)


async def test_what_is_public_is_there_for_all(doors: KeyedMarket) -> None:
    async with doors.client() as client:
        for method, path, need in DOORS:
            if need is PUBLIC:
                expected = 426 if path.startswith("/ws") else 200
                answer = await ask(client, method, path)
                assert answer.status_code == expected, path
                assert not any(name in answer.text for name in ("ETH/USDT", "SOL/USDT"))


async def test_paths_and_methods_that_are_none_are_no_way_in(doors: KeyedMarket) -> None:
    async with doors.client(await doors.key(scopes=KeyScope)) as client:
        assert (await client.get("/v1/nothing")).json()["code"] == "not_found"
        assert (await client.get("/v1/candles/")).json()["code"] == "not_found"
        wrong = await client.put("/v1/instruments", json=ORDER)
        assert (await client.head("/v1/status")).status_code == 200
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD, POST, DELETE"


async def test_a_route_that_nobody_listed_is_served_to_no_key(doors: KeyedMarket) -> None:
    app = create_app(doors.market.state)
    app.add_api_route("/v1/fresh", lambda: "new")
    key = await doors.key(scopes=KeyScope)
    headers = {"Authorization": f"Bearer {key.spelt()}"}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        answer = await client.get("/v1/fresh", headers=headers)

    assert answer.json()["code"] == "not_found"


async def test_what_a_proxy_forwards_is_not_this_machines_own(market_url: str) -> None:
    async with keyed(market_url, require_keys=False) as served, served.client() as client:
        answers = {
            name: (await client.get("/v1/status", headers={name: "127.0.0.1"})).status_code
            for name in ("Accept", *FORWARDED)
        }
        named = await client.get("/v1/status", headers={"Host": "127.0.0.1:1"})
        async with served.market.connect(additional_headers={"Via": "1.1 x"}) as socket:
            await socket.send("{}")
            ended = await turned_away(socket)

    assert answers == {"Accept": 200, **dict.fromkeys(FORWARDED, 401)}
    assert named.status_code == 200
    assert ended == (4401, "unauthorized")


async def test_a_page_whose_name_was_led_here_is_not_the_operator(market: ServedMarket) -> None:
    app = create_app(market.state)  # as on an address that others reach: it answers to any name
    here = httpx.ASGITransport(app, client=("127.0.0.1", 5_000))
    async with httpx.AsyncClient(transport=here, base_url="http://t") as client:
        by_name = {
            host: (await client.get("/v1/status", headers={"Host": host})).status_code
            for host in ("evil.example:8000", "localhost:8000", "")
        }

    assert by_name == {"evil.example:8000": 401, "localhost:8000": 200, "": 401}


async def test_a_revoked_key_is_refused_within_a_second(doors: KeyedMarket) -> None:
    key = await doors.key()
    async with doors.client(key) as client:
        assert (await client.get("/v1/status")).status_code == 200
        await doors.keys.revoke(key.id, at=START)
        doors.wall.advance(timedelta(seconds=1))

        answer = await client.get("/v1/status")

    assert (answer.status_code, answer.json()["detail"]) == (
        401,
        f"the key {key.id} was revoked at 2024-01-01T00:00:00.000Z",
    )


async def test_a_key_is_good_the_moment_it_is_made(doors: KeyedMarket) -> None:
    key = ApiKey.fresh()
    async with doors.client(key) as client:
        assert (await client.get("/v1/status")).status_code == 401
        await doors.enter(key)
        assert (await client.get("/v1/status")).status_code == 200


async def test_without_a_database_nobody_is_let_in(doors: KeyedMarket) -> None:
    key = await doors.key()
    doors.market.state.access.keyring.store = None

    async with doors.client(key) as client:
        early = await client.get("/v1/status")

    assert (early.status_code, early.json()["code"]) == (503, "starting")


async def plant(market: ServedMarket) -> None:
    """Something of every instrument behind every route that tells of them."""
    for batch in market.batches[:20]:
        scored_at = batch.as_of + HORIZON * batch.timeframe.duration
        await market.recorder.commit_learning(outcomes(batch, scored_at), published_at=scored_at)
    await market.pool.execute(
        "UPDATE instruments SET watched_from = '2023-01-01' WHERE exchange = 'simulated'"
    )
    await market.pool.execute(_GAPS)
    await market.pool.execute(_MODEL)
    await market.pool.execute(_RATES, START)
    market.state.status.notes.append("of SOL/USDT three candles were left out")
    async with market.pool.acquire() as connection:
        await ledger.fold(connection, lambda _: Terms(), closes=TICKS)
        await panels.rebuild(connection, START + timedelta(seconds=1))


PATHS = [path for path, needs in NEEDS.items() if needs.get("GET") == READ and "{" not in path]
# They name no instrument, or only those that are late; jobs are of who asked for them.
NAMELESS = {
    "/v1/exchanges", "/v1/jobs", "/v1/ledger", "/v1/models", "/v1/models/pool", "/v1/scores",
    "/v1/scores/calibration", "/v1/scores/days", "/v1/sentiment", "/v1/timeframes", "/readyz",
}  # fmt: skip


async def test_a_key_sees_its_own_instruments_and_nothing_else(doors: KeyedMarket) -> None:
    await plant(doors.market)
    mine = await doors.key(instruments=MINE)

    async with doors.client(mine) as some, doors.client(await doors.key()) as every:
        for path in PATHS:
            seen, whole = (await some.get(path)).text, (await every.get(path)).text
            assert all(one.symbol not in seen for one in (ETH, SOL)), path
            # Charts ask for one instrument at a time, and without it for nothing.
            if path not in NAMELESS and not path.startswith("/udf/"):
                assert all(one.symbol in whole for one in (BTC, ETH, SOL)), path
                assert BTC.symbol in seen, path
        scores = [(await one.get("/v1/scores")).json()["data"] for one in (some, every)]
        models = [(await one.get("/v1/models")).json()["data"] for one in (some, every)]
        accounts = [(await one.get("/v1/ledger")).json()["data"] for one in (some, every)]
        status = (await some.get("/v1/status")).json()["data"][0]

    assert [sum(row["count"] for row in rows) for rows in scores] == [40, 120]
    assert [len(rows) for rows in models] == [0, 1]
    assert [len(rows) for rows in accounts] == [0, 1]
    assert status["notes"] == []


async def test_what_a_key_may_not_see_is_as_unknown_as_what_is_not(doors: KeyedMarket) -> None:
    mine = await doors.key(instruments=MINE)
    listed = ["/v1/candles", "/v1/predictions", "/v1/predictions/latest", "/v1/signals"]
    listed += ["/v1/features", "/v1/gaps", "/v1/scores"]
    listed += ["/v1/exchanges", "/v1/symbols", "/v1/timeframes"]

    async with doors.client(mine, **{"X-Request-Id": "the-same"}) as client:
        for path in listed:
            hidden = await client.get(path, params={"symbol": "ETH/USDT"})
            absent = await client.get(path, params={"symbol": "ETA/USDT"})
            assert hidden.status_code == absent.status_code == 404, path
            assert hidden.text.replace("ETH/", "ETA/") == absent.text, path
        place = "/v1/predictions/1h.4.simulated.2024-01-01T00:00:00.000Z.1.{}/USDT/explanation"
        hidden, absent = [await client.get(place.format(one)) for one in ("ETH", "ETA")]
        assert hidden.status_code == 404
        assert hidden.text.replace("ETH/", "ETA/") == absent.text
        own = await client.get(place.format("BTC"))
        assert own.status_code != 404 or "no served" not in own.text


async def test_charts_show_a_key_its_own_instruments(doors: KeyedMarket) -> None:
    of: dict[str, str | int] = {"resolution": "60", "from": 0, "to": 1_704_067_200}

    async with doors.client(await doors.key(instruments=MINE)) as client:
        for path in ("symbols", "history", "marks", "timescale_marks"):
            hidden, absent = [
                await client.get(f"/udf/{path}", params={**of, "symbol": f"simulated:{one}/USDT"})
                for one in ("ETH", "ETA")
            ]
            assert hidden.json()["s"] == "error", path
            assert hidden.text.replace("ETH/", "ETA/") == absent.text, path
        found = (await client.get("/udf/search", params={"query": "USDT", "limit": 30})).json()

    assert [one["symbol"] for one in found] == ["BTC/USDT"]


async def test_the_documents_say_which_scope_a_route_needs(doors: KeyedMarket) -> None:
    async with doors.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        docs = (await client.get("/docs")).text

    told = {
        (path, method.upper()): operation.get("security")
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    for (path, method), security in told.items():
        need = needs_at(path)[method]
        assert security == ([{"key": [need.scope.value]}] if need.scope else None), path
    assert "Scope: <code>operate</code>" in docs


async def test_readiness_is_of_the_instruments_of_the_caller(doors: KeyedMarket) -> None:
    status = doors.market.state.status
    doors.market.clock.advance(timedelta(hours=3))
    status.predicted(next(iter(status.newest))[1], [BTC], doors.market.clock.now())

    async with doors.client(await doors.key(instruments=MINE)) as mine:
        own = await mine.get("/readyz")
    async with doors.client(await doors.key(instruments=("simulated:SOL/*",))) as others:
        theirs = await others.get("/readyz")

    assert own.json() == {"status": "ready", "prediction_age_seconds": 0.0, "troubles": []}
    assert theirs.json()["code"] == "stale"
    assert [one["symbol"] for one in theirs.json()["stale"]] == ["SOL/USDT"]
    assert "ETH" not in theirs.text


async def test_a_cursor_of_one_key_shows_another_nothing_more(doors: KeyedMarket) -> None:
    async with (
        doors.client(await doors.key()) as every,
        doors.client(await doors.key(instruments=MINE)) as some,
    ):
        page = (await every.get("/v1/candles", params={"limit": 2})).json()
        further = await some.get("/v1/candles", params={"limit": 2, "cursor": page["next"]})

    assert {row["symbol"] for row in further.json()["data"]} == {"BTC/USDT"}


_MODEL = """
    INSERT INTO ml_models_metadata (name, timeframe, exchange, horizon, version, target, kind,
        status, params, seed, code_sha, data_sha256, feature_set, label_set, trained_from,
        trained_until, n_train, n_effective, n_trials, metrics, environment, artifact_path,
        artifact_sha256, artifact_bytes, train_seconds, created_at)
    VALUES ('lightgbm.direction', '1h', 'simulated', 4, 1, 'direction', 'lightgbm',
        'eligible', '{}', 1, 'c', 'd', 'few@1', 'direction@1', '2023-12-01', '2023-12-31', 900,
        225.0, 1, '{"loss": 0.9}', '{}', 'p', 's', 10, 1.5, '2023-12-31')
    """
_RATES = """
    INSERT INTO market_metrics (instrument_id, metric, event_time, known_at, value)
    SELECT instrument_id, 'funding_rate', $1, $1, 0.0001 FROM instruments
    """
_GAPS = """
INSERT INTO ingest_gaps (instrument_id, timeframe, from_time, to_time, cause, state, detected_at)
SELECT instrument_id, '1h', '2023-12-31T20:00Z', '2023-12-31T21:00Z', 'silence', 'open',
       '2023-12-31T22:00Z'
FROM instruments WHERE exchange = 'simulated'
"""
