"""The OpenAPI document says all that a caller needs, and its examples are what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from backend.api.app import create_app
from backend.api.hub import Hub
from backend.api.openapi import EXAMPLES
from backend.api.problems import KINDS, MEDIA_TYPE
from backend.api.state import ApiState
from backend.api.status import Market, Status
from tests.doubles import ManualClock


def _document() -> dict[str, Any]:
    clock = ManualClock()
    status = Status(market=Market.SIMULATED)
    return create_app(ApiState(clock=clock, hub=Hub(clock), status=status)).openapi()


DOCUMENT = _document()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
each_route = pytest.mark.parametrize("route", OPERATIONS)


def problems_of(operation: dict[str, Any]) -> dict[str, Any]:
    return {code: one for code, one in operation["responses"].items() if code[0] in "45"}


def contents(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything that carries a schema, and may have examples of it."""
    yield from operation.get("parameters", ())
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        yield from body.get("content", {}).values()


def examples(content: dict[str, Any]) -> list[Any]:
    one = [content["example"]] if "example" in content else []
    others = [resolved(each)["value"] for each in content.get("examples", {}).values()]
    return one + others


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or the component that it names."""
    found = part
    for name in part.get("$ref", "").split("/")[1:]:
        found = DOCUMENT[name] if found is part else found[name]
    return found


def validator(schema: dict[str, Any]) -> Any:
    whole = {"components": DOCUMENT["components"], **schema}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@each_route
def test_a_route_says_what_it_is_for_and_what_it_takes(route: str) -> None:
    operation = OPERATIONS[route]

    assert operation["summary"]
    assert operation["description"].startswith(operation["summary"])
    assert set(operation["tags"]) <= {one["name"] for one in DOCUMENT["tags"]}
    assert operation["tags"]
    for parameter in operation.get("parameters", ()):
        assert parameter.get("description"), parameter["name"]


@each_route
def test_a_route_says_what_it_answers(route: str) -> None:
    answers = [one for code, one in OPERATIONS[route]["responses"].items() if code[0] == "2"]

    assert answers
    for answer in answers:
        assert answer["description"]
        assert answer["content"]
        assert all(content["schema"] for content in answer["content"].values())
        assert any(examples(content) for content in answer["content"].values())


@each_route
def test_a_route_says_which_problems_there_are(route: str) -> None:
    problems = problems_of(OPERATIONS[route])

    assert {"421", "500"} <= problems.keys()
    for status, problem in problems.items():
        assert problem["content"].keys() == {MEDIA_TYPE}
        shown = problem["content"][MEDIA_TYPE]["examples"]
        assert {str(KINDS[code].status) for code in shown} == {status}
        assert problem["description"]
        assert ("Retry-After" in problem["headers"]) == any(KINDS[code].temporary for code in shown)


@each_route
def test_each_example_is_as_it_is_described(route: str) -> None:
    for content in contents(OPERATIONS[route]):
        for example in examples(content):
            validator(content["schema"]).validate(example)


@each_route
def test_what_must_be_sent_has_an_example(route: str) -> None:
    operation = OPERATIONS[route]

    for parameter in operation.get("parameters", ()):
        assert "example" in parameter or not parameter["required"], parameter["name"]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        assert "example" in content


def test_no_example_is_of_a_route_that_is_none() -> None:
    assert json.loads(EXAMPLES.read_bytes()).keys() == OPERATIONS.keys()


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]

    assert len(set(names)) == len(names)
