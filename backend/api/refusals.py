"""Which problems a route may answer: what it names itself, and what follows from its requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from backend.api.needs import Need
from backend.api.problems import KINDS, MEDIA_TYPE, ProblemError

Responses = dict[int | str, dict[str, Any]]

SCHEMA: Final = "#/components/schemas/RestProblem"
ANYONE: Final = ("misdirected", "internal")
WITH_SCOPE: Final = (
    "unauthorized", "token_expired", "forbidden", "rate_limited", "starting", "unavailable",
    "incomplete",
)  # fmt: skip
WITH_BODY: Final = ("bad_json", "body_too_large", "body_late", "bad_request")
BY_PARAMETER: Final[Mapping[str, str]] = {  # of lists
    "exchange": "unknown_exchange",
    "symbol": "unknown_symbol",
    "source": "unknown_source",
    "timeframe": "unknown_timeframe",
    "format": "not_acceptable",
}
LISTED: Final = frozenset({"cursor", "format"})  # parameters of a list that comes page by page
OURS: Final = "/v1/"  # elsewhere unknown names are said in other ways


def refused(*codes: str) -> Responses:
    """These problems by their status, as FastAPI's `responses` takes it."""
    found: Responses = {}
    for code in codes:
        _add(found, code)
    return found


def shown() -> dict[str, dict[str, Any]]:
    """An example of each problem, by its code."""
    asked = {"instance": "/v1/candles", "request_id": "6f2c3c1e9c414f0b"}
    return {
        code: {
            "summary": kind.title,
            "value": {**ProblemError(code, kind.title).body(), **asked},
        }
        for code, kind in KINDS.items()
    }


def add_refusals(path: str, operation: dict[str, Any], need: Need | None) -> None:
    """Complete the problems of an operation of OpenAPI."""
    responses = operation["responses"]
    for code in _following(path, operation, need):
        _add(responses, code)
    operation["responses"] = dict(sorted(responses.items()))


def _following(path: str, operation: Mapping[str, Any], need: Need | None) -> Iterator[str]:
    """The codes that follow from who may ask, and from what is asked with."""
    yield from ANYONE
    if need is not None and need.scope is not None:
        yield from WITH_SCOPE
    if "requestBody" in operation:
        yield from WITH_BODY
    names = {each["name"] for each in operation.get("parameters", ())}
    if names:
        yield "bad_request"
    if path.startswith(OURS):
        yield from (code for name, code in BY_PARAMETER.items() if name in names)
        if names >= LISTED:
            yield "bad_cursor"


def _add(responses: Responses, code: str) -> None:
    kind = KINDS[code]
    content = {MEDIA_TYPE: {"schema": {"$ref": SCHEMA}, "examples": {}}}
    told = responses.setdefault(str(kind.status), {})
    examples = told.setdefault("content", content)[MEDIA_TYPE]["examples"]
    examples[code] = {"$ref": f"#/components/examples/{code}"}
    told["description"] = "; ".join(dict.fromkeys(KINDS[one].title for one in examples))
    if kind.temporary:
        told.setdefault("headers", {})["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
