"""Predictions of many instruments, by names in a body."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pandas as pd
import pytest

from backend.api.parameters import MOST_INSTRUMENTS
from backend.api.queries import HINTED
from domain.keys import KeyScope
from domain.market import rfc3339
from tests.doubles import START
from tests.keyed import keyed
from tests.served_market import MEMBERS, TICKS

PATH = "/v1/predictions/query"
NAMES = [str(one) for one in MEMBERS]


async def ask(rest: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await rest.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == {"data", "meta", "next", "rejected"}
    return found


async def refused(rest: httpx.AsyncClient, code: str = "bad_request", **body: Any) -> str:
    answer = await rest.post(PATH, json=body)
    told = answer.json()
    assert told["code"] == code, answer.text
    detail: str = told["detail"]
    return detail


async def test_a_query_answers_as_the_list_of_the_same_instruments(rest: httpx.AsyncClient) -> None:
    one = {"exchange": "simulated", "symbol": "ETH/USDT"}
    span: dict[str, Any] = {
        "start": rfc3339(START.replace(year=2023)),
        "end": rfc3339(START),
        "limit": 11,
    }
    listed = {"symbol": "ETH/USDT,BTC/USDT", "role": "champion,member", "timeframe": "1h"}

    found = await ask(
        rest,
        instruments=["simulated:BTC/USDT", one, "simulated:ETH/USDT"],
        timeframes=["1h"],
        horizons=[4],
        role=["champion", "member"],
        **span,
    )

    whole = (await rest.get("/v1/predictions", params={**listed, "horizon": 4, **span})).json()
    assert (found["data"], found["meta"]) == (whole["data"], whole["meta"])
    assert (len(found["data"]), found["rejected"]) == (11, [])


async def test_the_newest_of_each_are_those_of_latest(rest: httpx.AsyncClient) -> None:
    found = await ask(rest, instruments=NAMES, latest=True)

    assert found["data"] == (await rest.get("/v1/predictions/latest")).json()["data"]
    assert len(found["data"]) == len(MEMBERS)


@pytest.mark.parametrize("linked", [False, True])
async def test_pages_of_a_query_together_are_the_whole(
    rest: httpx.AsyncClient, *, linked: bool
) -> None:
    whole = await ask(rest, instruments=NAMES, limit=5_000)
    body: dict[str, Any] = {"instruments": NAMES, "limit": 35}
    answer = await rest.post(PATH, json=body)
    parts = answer.json()["data"]
    while answer.json()["next"]:
        if linked:
            answer = await rest.post(answer.links["next"]["url"], json=body)
        else:
            answer = await rest.post(PATH, json={**body, "cursor": answer.json()["next"]})
        parts += answer.json()["data"]

    assert parts == whole["data"]
    assert len(parts) == TICKS * len(MEMBERS)
    cursor = (await ask(rest, **body))["next"]
    assert await refused(rest, "bad_cursor", instruments=NAMES[:1], limit=35, cursor=cursor)


async def test_who_is_not_known_is_named_and_the_others_are_answered(
    rest: httpx.AsyncClient,
) -> None:
    strange = ["simulated:ETH/USD", "simulatd:BTC/USDT", "BTC/USDT", "simulated:"]

    found = await ask(rest, instruments=[*strange, *NAMES[:1]], latest=True)
    none = await ask(rest, instruments=strange)

    rejected = {row["instrument"]: row for row in found["rejected"]}
    assert [row["symbol"] for row in found["data"]] == ["BTC/USDT"]
    assert list(rejected) == [*strange[:3], "simulated"]
    assert rejected["simulated:ETH/USD"]["code"] == "unknown_symbol"
    assert rejected["simulated:ETH/USD"]["suggestions"][0] == "ETH/USDT"
    assert rejected["simulatd:BTC/USDT"]["code"] == "unknown_exchange"
    assert rejected["simulatd:BTC/USDT"]["suggestions"] == ["simulated"]
    assert "exchange:symbol" in rejected["BTC/USDT"]["detail"]
    assert (none["data"], len(none["rejected"])) == ([], len(strange))


async def test_thousands_of_instruments_fit_into_a_query_and_few_hints_are_given(
    rest: httpx.AsyncClient,
) -> None:
    many = [f"simulated:BTC{number}/USDT:USDT" for number in range(MOST_INSTRUMENTS - 3)]
    named = [
        {"exchange": each.partition(":")[0], "symbol": each.partition(":")[2]} for each in many
    ]

    found = await ask(rest, instruments=[*named, *NAMES], latest=True)
    too_many = await refused(rest, instruments=[*many, *NAMES, "one:MORE/USDT"])
    longer = await rest.post(PATH, content=b" " * 600_000)

    assert len(found["data"]) == len(MEMBERS)
    assert len(found["rejected"]) == len(many)
    assert [bool(row["suggestions"]) for row in found["rejected"]].count(True) <= HINTED
    assert found["rejected"][-1]["detail"] == f"unknown symbol '{named[-1]['symbol']}'"
    assert "5000" in too_many
    assert (longer.status_code, "524288" in longer.json()["detail"]) == (413, True)


async def test_rows_alone_come_with_the_count_of_what_is_not_known(rest: httpx.AsyncClient) -> None:
    body = {"instruments": [*NAMES, "simulated:NO/USDT"], "latest": True}
    objects = await ask(rest, **body)
    columns = await ask(rest, **body, format="columns")

    answer = await rest.post(PATH, json={**body, "format": "csv"})

    assert answer.headers["alphapulse-rejected"] == "1"
    assert answer.headers["cache-control"] == "no-store"
    frame = pd.read_csv(io.BytesIO(answer.content))
    assert list(frame["p_up"]) == [row["p_up"] for row in objects["data"]]
    assert list(columns["data"]["symbol"]) == [row["symbol"] for row in objects["data"]]
    assert columns["rejected"] == objects["rejected"]


async def test_a_malformed_query_is_one_clear_line(rest: httpx.AsyncClient) -> None:
    assert "instruments" in await refused(rest)
    assert "instruments" in await refused(rest, instruments=[])
    assert await refused(rest, instruments=[*NAMES, 7]) == (
        "instruments.3: name it exchange:symbol, or by an object of both, not '7'"
    )
    assert await refused(rest, instruments=[{"exchange": "x"}]) == (
        "instruments.0.symbol: Field required"
    )
    assert "limit" in await refused(rest, instruments=NAMES, latest=True, limit=5)
    assert await refused(rest, "unknown_timeframe", instruments=NAMES, timeframes=["2h"])
    assert "no parameter" in await refused(rest, instruments=NAMES, horizon=[4])
    assert "unknown horizon '99'" in await refused(rest, instruments=NAMES, horizons=[99])
    answer = await rest.post(f"{PATH}?cursor=x", json={"instruments": NAMES, "latest": True})
    assert answer.json()["detail"] == "a cursor goes once, in the body or the address"


async def test_a_query_reads_and_changes_nothing(market_url: str) -> None:
    async with keyed(market_url) as doors:
        reader = await doors.key(scopes=[KeyScope.READ], instruments=("simulated:BTC/*",))
        async with doors.client(reader) as client:
            found = await ask(client, instruments=NAMES, latest=True)
        entered = await doors.market.pool.fetchval("SELECT count(*) FROM audit_log")

    assert [row["symbol"] for row in found["data"]] == ["BTC/USDT"]
    assert [row["instrument"] for row in found["rejected"]] == NAMES[1:]
    assert all(row["suggestions"] == ["BTC/USDT"] for row in found["rejected"])
    assert entered == 0
