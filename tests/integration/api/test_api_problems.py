"""Every way to ask wrongly ends in a problem object that says what to do."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from backend.store.instruments import Instruments
from domain.sources import MARKET
from tests.served_market import ServedMarket

MEMBERS = {
    "type", "title", "status", "detail", "code", "temporary", "errors", "instance", "request_id",
}  # fmt: skip


async def problem(rest: httpx.AsyncClient, path: str, status: int, code: str) -> dict[str, Any]:
    answer = await rest.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) >= MEMBERS
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


MALFORMED = [
    ("limit=0", "limit"),
    ("limit=5001", "limit"),
    ("limit=many", "limit"),
    ("start=yesterday", "start"),
    ("end=2024-13-01", "end"),
    ("as_of=99999999999999999999", "as_of"),
    ("start=-1e300", "start"),
    ("start=9999-12-31T23:59:59Z", "start"),
    ("end=1969-12-31T23:59:59Z", "end"),
    ("as_of=9999-12-31T23:59:59Z", "as_of"),
    ("as_of=0001-01-01", "as_of"),
    ("as_of=-62135596800", "as_of"),
    ("horizon=0", "horizon"),
    ("horizon=four", "horizon"),
    ("role=king", "role"),
    ("order=sideways", "order"),
    ("symbol=", "symbol"),
    ("symbl=BTC/USDT", "symbl"),
    ("start=2024-01-02&end=2024-01-01", "query"),
    ("limit=1&limit=2", "limit"),
    ("symbol=BTC/USDT&symbol=ETH/USDT&as_of=2024-01-01&as_of=2023-01-01", "as_of"),
]


async def test_a_repeated_parameter_is_named_of_every_list(rest: httpx.AsyncClient) -> None:
    paths = (await rest.get("/openapi.json")).json()["paths"]
    limited = [
        path
        for path, methods in paths.items()
        if path.startswith("/v1/")
        and any(one["name"] == "limit" for one in methods.get("get", {}).get("parameters", ()))
    ]

    assert len(limited) > 5
    for path in limited:
        asked = path.replace("{stream}", "signals.1h.simulated.BTC/USDT")
        found = await problem(rest, f"{asked}?limit=1&limit=2", 422, "bad_request")
        assert found["errors"] == [
            {"parameter": "limit", "detail": "takes one value, and was given 2"}
        ]


async def test_a_malformed_parameter_is_named(rest: httpx.AsyncClient) -> None:
    for query, parameter in MALFORMED:
        found = await problem(rest, f"/v1/predictions?{query}", 422, "bad_request")

        assert [error["parameter"] for error in found["errors"]] == [parameter], query
        assert found["errors"][0]["detail"] in found["detail"]
        assert found["temporary"] is False


async def test_a_letter_that_no_name_has_is_the_callers_mistake(rest: httpx.AsyncClient) -> None:
    for path in (
        "/v1/notifications?channel=a%00",
        "/v1/models?model=%00",
        "/v1/sentiment?asset=%00",
    ):
        await problem(rest, path, 422, "bad_request")
    await problem(rest, "/v1/jobs/%00", 422, "bad_request")


async def test_lists_answer_at_the_first_and_the_last_time_that_can_be_asked(
    rest: httpx.AsyncClient,
) -> None:
    for path in ("candles", "features", "predictions", "signals"):
        for moment in ("1970-01-01", "2100-01-01"):
            for query in (f"as_of={moment}", f"start={moment}&order=desc", f"end={moment}"):
                answer = await rest.get(f"/v1/{path}?{query}&limit=5000")

                assert answer.status_code == 200, answer.text
        found = await problem(rest, f"/v1/{path}?as_of=2100-01-01T00:00:01Z", 422, "bad_request")
        assert found["detail"].endswith("lies outside 1970-01-01 to 2100-01-01")


async def test_a_filter_that_no_row_can_match_is_refused_with_what_is_known(
    rest: httpx.AsyncClient,
) -> None:
    for path, known in (
        ("signals?side=up", "long, short, flat"),
        ("signals?side=long,up", "long, short, flat"),
        (
            "signals?status=open",
            "pending, active, take_profit, stop_loss, expired, withdrawn, flat",
        ),
        ("models?target=served", "direction, quantiles, volatility"),
        ("scores?role=king", "champion, member, challenger"),
        ("gaps?state=closed", "open, repairing, filled, unfillable"),
        ("predictions?horizon=99", "4"),
        ("predictions/latest?horizon=4,99", "4"),
        ("scores?horizon=99", "4"),
        ("models?horizon=99", "4"),
        ("features?feature_set=zz@9", "few@1"),
    ):
        found = await problem(rest, f"/v1/{path}", 422, "bad_request")

        assert found["detail"].endswith(f"; known: {known}"), path


async def test_a_model_or_panel_that_never_was_is_refused_and_one_that_said_nothing_is_not(
    rest: httpx.AsyncClient,
) -> None:
    for path in ("predictions", "predictions/latest", "signals", "scores", "models"):
        found = await problem(rest, f"/v1/{path}?model=lightgbm.directoin", 422, "bad_request")

        assert "nearest: lightgbm.direction" in found["detail"]
        assert (await rest.get(f"/v1/{path}?model=lightgbm.direction")).status_code == 200
    panel = await problem(rest, "/v1/dashboard?panel=zz", 422, "bad_request")
    assert "known: latest_predictions" in panel["detail"]


async def test_thousands_of_mistakes_are_told_as_ten_and_briefly(rest: httpx.AsyncClient) -> None:
    query = "&".join(f"x{number}=1" for number in range(3_000))
    found = await problem(rest, f"/v1/candles?{query}", 422, "bad_request")
    long = await problem(rest, f"/v1/candles?symbol={'x' * 50_000}", 404, "unknown_symbol")

    assert len(found["errors"]) == 10
    assert len(long["detail"]) < 200


async def test_a_body_that_is_long_or_of_no_known_length_is_not_read(
    rest: httpx.AsyncClient,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    for content in (b" " * 70_000, pieces()):
        answer = await rest.post("/v1/instruments", content=content)

        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_list_refuses_parameters_that_it_would_ignore(rest: httpx.AsyncClient) -> None:
    openapi = (await rest.get("/openapi.json")).json()
    values = {"limit": "1", "order": "asc", "cursor": "x", "start": "2024-01-01", "end": "2025"}
    for path, ignored in (
        ("/v1/scores", ("limit", "order", "cursor")),
        ("/v1/predictions/latest", ("limit", "order", "cursor", "start", "end")),
    ):
        offered = openapi["paths"][path]["get"]["parameters"]
        for name in ignored:
            found = await problem(rest, f"{path}?{name}={values[name]}", 422, "bad_request")

            assert found["errors"] == [{"parameter": name, "detail": "no parameter of this list"}]
            assert name not in [each["name"] for each in offered]


async def test_a_misspelt_parameter_gets_a_suggestion(rest: httpx.AsyncClient) -> None:
    found = await problem(rest, "/v1/candles?symbl=BTC/USDT", 422, "bad_request")

    assert "did you mean symbol" in found["detail"]


async def test_only_what_a_route_takes_is_suggested(rest: httpx.AsyncClient) -> None:
    for name, detail in (
        ("bogus", "unknown parameter"),  # near to `symbols`, which it does not take
        ("timefrme", "unknown parameter; did you mean timeframe?"),
    ):
        answer = await rest.post("/v1/retrains", json={name: 1})

        assert answer.json()["errors"] == [{"parameter": name, "detail": detail}]


async def test_unknown_names_get_suggestions(market: ServedMarket, rest: httpx.AsyncClient) -> None:
    await Instruments(market.pool).ids([MARKET])  # it is in the store, and no exchange
    symbol = await problem(rest, "/v1/candles?symbol=BTC/USD", 404, "unknown_symbol")
    exchange = await problem(rest, "/v1/scores?exchange=simulatd", 404, "unknown_exchange")
    strange = await problem(rest, "/v1/scores?exchange=qqq", 404, "unknown_exchange")
    timeframe = await problem(rest, "/v1/signals?timeframe=2h", 422, "unknown_timeframe")

    assert symbol["suggestions"][0] == "BTC/USDT"
    assert exchange["suggestions"] == ["simulated"]
    assert strange["detail"].endswith("known: simulated")
    assert set(timeframe["suggestions"]) <= {"1h", "4h"}


async def test_a_cursor_of_another_request_is_refused(rest: httpx.AsyncClient) -> None:
    cursor = (await rest.get("/v1/predictions?limit=1")).json()["next"]

    made_for, _time, *key = orjson.loads(base64.urlsafe_b64decode(cursor + "=="))
    forged = base64.urlsafe_b64encode(orjson.dumps([made_for, 1 << 60, *key])).decode().strip("=")
    for path in (
        f"/v1/predictions?limit=1&cursor={forged}",
        f"/v1/predictions?symbol=BTC/USDT&cursor={cursor}",
        f"/v1/signals?cursor={cursor}",
        "/v1/predictions?cursor=nonsense",
        "/v1/predictions?cursor=W10",
    ):
        await problem(rest, path, 422, "bad_cursor")


async def test_the_frameworks_own_errors_are_problems_too(rest: httpx.AsyncClient) -> None:
    await problem(rest, "/v1/nothing", 404, "not_found")
    await problem(rest, "/static/nothing.js", 404, "not_found")
    answer = await rest.post("/v1/candles")

    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET, HEAD"
    assert (await rest.post("/static/main.js")).headers["allow"] == "GET, HEAD"


async def test_a_problem_names_its_request_and_what_was_asked_for(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    rest.headers["x-request-id"] = "mine-1"
    named = await problem(rest, "/v1/candles?limit=0", 422, "bad_request")
    elsewhere = await rest.get("/v1/candles", headers={"host": "alphapulse.example"})
    market.state.settings = None  # type: ignore[assignment]  # a bug of ours
    bug = await problem(rest, "/v1/status", 500, "internal")
    rest.headers["x-request-id"] = "not\x7ftame"
    strange = await problem(rest, "/v1/candles?limit=0", 422, "bad_request")

    assert (named["instance"], named["request_id"]) == ("/v1/candles", "mine-1")
    assert (elsewhere.status_code, elsewhere.headers["x-request-id"]) == (421, "mine-1")
    assert bug["request_id"] == "mine-1"
    assert len(strange["request_id"]) == 32


async def test_the_socket_asked_without_an_upgrade_says_what_it_is(rest: httpx.AsyncClient) -> None:
    for path in ("/ws", "/ws/v1"):
        found = await problem(rest, path, 426, "upgrade_required")
        answer = await rest.get(path)

        assert f"ws://…{path}" in found["detail"]
        assert (answer.headers["upgrade"], answer.headers["connection"]) == (
            "websocket",
            "Upgrade",
        )


async def test_head_answers_as_get_does_without_the_body(rest: httpx.AsyncClient) -> None:
    for path, status in (
        ("/", 200),
        ("/healthz", 200),
        ("/v1/candles?limit=3", 200),
        ("/static/main.js", 200),
        ("/v1/candles?limit=0", 422),
        ("/v1/nothing", 404),
    ):
        whole, head = await rest.get(path), await rest.head(path)

        assert (head.status_code, head.content) == (status, b"")
        for name in ("content-type", "content-length"):
            assert head.headers[name] == whole.headers[name], path


async def test_before_the_store_is_there_lists_say_what_still_loads(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    market.state.reader = None
    market.state.status.report("candles", 10, 40)

    found = await problem(rest, "/v1/predictions", 503, "starting")

    assert found["detail"] == "still loading: candles"
    assert found["progress"] == [{"name": "candles", "done": 10, "total": 40}]
    assert (await rest.get("/")).status_code == 200
    assert (await rest.get("/v1/status")).json()["data"][0]["market"] == "simulated"


async def test_a_table_or_a_column_that_is_not_there_is_no_temporary_problem(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await market.pool.execute("DROP TABLE notifications")
    await market.pool.execute("ALTER TABLE ingest_gaps DROP COLUMN cause CASCADE")
    asked = {
        "/v1/notifications": 'relation "notifications" does not exist',
        "/v1/gaps": "cause does not exist",
    }
    for path, said in asked.items():
        found = await problem(rest, path, 500, "incomplete")
        assert said in found["detail"]
        assert "`alphapulse migrate` where its schema is older" in found["detail"]
        assert "`alphapulse restore` into an empty database" in found["detail"]
        assert found["temporary"] is False
        assert "retry-after" not in (await rest.get(path)).headers


async def test_a_database_that_is_gone_is_a_temporary_problem(
    market: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await market.pool.close()

    found = await problem(rest, "/v1/candles", 503, "unavailable")

    assert found["temporary"] is True
