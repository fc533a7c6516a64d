"""Whatever is asked within the OpenAPI document, and beyond it, is answered as it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.api.refusals import BY_PARAMETER, OURS
from domain.market import Instrument
from services.models.artifacts import ArtifactStore
from tests.errands import PANEL
from tests.full_market import fill
from tests.membership import Membership, beside
from tests.seats import Book, weights
from tests.served_market import ServedMarket

Asked = Case[Any]

EVERYDAY, LONG = 3, 60  # requests of each route and kind
CHECKS: Final[list[Any]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# What is there: words drawn at random find nothing, and nothing is read.
KNOWN: Final[dict[str, list[Any]]] = {
    "exchange": ["simulated"],
    "symbol": ["BTC/USDT", "ETH/USDT", "simulated:ETH/USDT"],
    "symbols": ["SOL/USDT"],
    "timeframe": ["1h"],
    "timeframes": ["1h"],
    "horizon": [4],
    "horizons": [4],
    "model": ["served", "class_prior.direction", "lightgbm.direction"],
    "a": ["served"],
    "b": ["class_prior.direction"],
    "role": ["champion", "member"],
    "instruments": ["simulated:BTC/USDT", "simulated:ETH/USDT"],
    "source": ["coindesk"],
    "asset": ["BTC"],
    "feature_set": ["few@1"],
    "resolution": ["60"],
    "kind": ["mood", "mood@1"],
    "stream": ["signals.1h.simulated.ETH/USDT", "gaps", "models"],
    "id": ["1h.4.simulated.2024-01-01T00:00:00.000Z.1.BTC/USDT"],
    "start": ["2023-12-31", "1704000000"],
    "end": ["2024-01-01T12:00:00Z"],
    "as_of": ["2023-12-31T20:00:00Z", "2024-01-02"],
    "from": [0, 1_704_000_000],
    "to": [1_704_067_200],
    "state": ["open", "queued", "sent"],
    "panel": ["coverage", "ledger"],
    "epoch": [None],
    "cursor": [None],
}


@pytest.fixture
async def whole(market: ServedMarket, tmp_path: Path) -> AsyncIterator[ServedMarket]:
    """The market with something in every list, and a system that takes orders."""
    await fill(market)
    state = market.state
    state.weights, state.artifacts = weights, ArtifactStore(tmp_path)
    office = Membership().office(market)
    examples = beside(Instrument("binance", "BTC/USDT"))
    office.beside = {**office.beside, "collectors of binance": examples}
    office.work = {**office.work, PANEL: {"rollback": Book()}}
    office.open()
    yield market
    await office.close()


@st.composite
def sensible(draw: st.DrawFn, cases: st.SearchStrategy[Asked]) -> Asked:
    """A case in which some words are of things that there are."""
    case = draw(cases)
    sent: list[Any] = [case.query, case.path_parameters, case.body]
    for part in (one for one in sent if isinstance(one, dict)):
        for name in sorted(part.keys() & KNOWN.keys()):
            if draw(st.booleans()):
                known = draw(st.sampled_from(KNOWN[name]))
                part[name] = [known] if isinstance(part[name], list) else known
    return case


def operations(document: dict[str, Any]) -> list[Any]:
    """Every route, as schemathesis has it, asked from this machine: no key is needed."""
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    found = schemathesis.openapi.from_dict(document).get_all_operations()
    return [one.ok() for one in found if isinstance(one, Ok)]


def ask(case: Asked, url: str) -> int:
    """The status of an answer that is as the document has it."""
    answer = case.call(base_url=url)
    case.validate_response(answer, checks=CHECKS)
    return answer.status_code


def hold(document: dict[str, Any], url: str, count: int) -> None:
    """Ask every route so often within what the document allows, and so often beyond it."""
    for operation in operations(document):
        raw = operation.definition.raw
        beyond = [GenerationMode.NEGATIVE] if {"parameters", "requestBody"} & raw.keys() else []
        for mode in (GenerationMode.POSITIVE, *beyond):

            @settings(
                max_examples=count,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                database=None,
            )
            @given(sensible(operation.as_strategy(generation_mode=mode)))
            def holds(case: Asked) -> None:
                ask(case, url)

            holds()


def show(document: dict[str, Any], url: str) -> dict[str, int]:
    """Ask every route as its examples do: the statuses by route."""
    statuses = {}
    for operation in operations(document):
        raw = operation.definition.raw
        given_by: dict[str, dict[str, Any]] = {"query": {}, "path": {}, "header": {}}
        for parameter in raw.get("parameters", ()):
            if "example" in parameter:
                given_by[parameter["in"]][parameter["name"]] = parameter["example"]
        body = raw.get("requestBody", {}).get("content", {}).get("application/json", {})
        case = operation.Case(
            path_parameters=given_by["path"],
            query=given_by["query"],
            **({"body": body["example"], "media_type": "application/json"} if body else {}),
        )
        statuses[operation.label] = ask(case, url)
    return statuses


async def test_each_route_answers_its_example(whole: ServedMarket, rest: httpx.AsyncClient) -> None:
    document = (await rest.get("/openapi.json")).json()
    ids = document["paths"]["/v1/jobs/{id}"]["get"]["parameters"]
    await whole.pool.execute(
        "INSERT INTO jobs (id, kind, request, caller, request_sha256, state, created_at, attempts)"
        " VALUES ($1, 'retrain', '{}', 'loopback', sha256(''), 'queued', $2, 0)",
        ids[0]["example"],
        whole.clock.now(),
    )
    await whole.pool.execute(
        "INSERT INTO job_parts (job_id, owner, state, attempts)"
        " VALUES ($1, 'panel nobody|1h', 'queued', 0)",
        ids[0]["example"],
    )

    statuses = await asyncio.to_thread(show, document, whole.url)

    assert {name: one for name, one in statuses.items() if one not in (200, 202)} == {}


async def test_answers_are_as_the_document_says(
    whole: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await asyncio.to_thread(hold, (await rest.get("/openapi.json")).json(), whole.url, EVERYDAY)


@pytest.mark.long
async def test_many_answers_are_as_the_document_says(
    whole: ServedMarket, rest: httpx.AsyncClient
) -> None:
    await asyncio.to_thread(hold, (await rest.get("/openapi.json")).json(), whole.url, LONG)


async def test_a_name_that_is_none_is_the_problem_that_is_documented(
    whole: ServedMarket, rest: httpx.AsyncClient
) -> None:
    paths = (await rest.get("/openapi.json")).json()["paths"]
    lists = {path: one["get"] for path, one in paths.items() if "get" in one}
    wrong = {}
    for path, operation in lists.items():
        parameters = operation.get("parameters", [])
        shown = {one["name"]: one["example"] for one in parameters if "example" in one}
        named = {one["name"] for one in parameters if path.startswith(OURS)}
        for name in sorted(named & BY_PARAMETER.keys()):
            asked = {one: value for one, value in shown.items() if f"{{{one}}}" not in path}
            answer = await rest.get(path.format(**shown), params={**asked, name: "nonsense"})
            code = answer.json().get("code", answer.status_code)
            if code not in (BY_PARAMETER[name], "bad_request" if name == "format" else ""):
                wrong[path, name] = code

    assert wrong == {}
