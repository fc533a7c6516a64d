"""The application, whose OpenAPI document says of each route who may ask, how, and what comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from backend.api.described import RestProblem
from backend.api.formats import JSON
from backend.api.needs import Need, needs_at
from backend.api.refusals import SCHEMA, add_refusals, shown

SCHEME: Final = "key"
EXAMPLES: Final = Path(__file__).with_name("examples.json")  # answers of a server, by route
TAGS: Final = {
    "charting": "the feed of TradingView's charting library (UDF), in its own words",
    "health": "whether the process lives and may be relied on",
    "instruments": "what is watched, and orders to watch more or less",
    "jobs": "work that takes its time: asked for once, looked at later",
    "market": "candles, features, gaps, what sources told, and the system's own state",
    "models": "fitted models, their record, and orders about them",
    "notifications": "who was told what",
    "predictions": "what is said, what became of it, signals and the paper accounts",
    "streams": "the log behind the WebSocket: heads, events, tickets",
}
HEADERS: Final = {
    "X-Request-Id": "finds the request in the log",
    "RateLimit": "what is left of the quota; the operator has none",
    "RateLimit-Policy": "the quota",
    "Retry-After": "seconds",
}
_COUNTED: Final = ("RateLimit", "RateLimit-Policy")  # where a scope is needed

Operation = dict[str, Any]


class DescribedApp(FastAPI):
    """FastAPI whose document has scopes, problems, headers and examples."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            parts, examples = document["components"], json.loads(EXAMPLES.read_bytes())
            bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "ap_ID_SECRET"}
            parts["securitySchemes"] = {SCHEME: bearer}
            parts["schemas"][SCHEMA.rpartition("/")[2]] = RestProblem.model_json_schema()
            parts["examples"] = shown()
            parts["headers"] = {name: _header(text) for name, text in HEADERS.items()}
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    need = needs_at(path).get(method.upper())
                    _describe(path, operation, need)
                    _show(operation, examples.get(f"{method.upper()} {path}", {}))
        return self.openapi_schema or {}


def _describe(path: str, operation: Operation, need: Need | None) -> None:
    """Say in a line what it is for, who may ask, and what else may be answered."""
    operation["summary"] = operation["description"].partition("\n")[0].rstrip(".")
    headers: tuple[str, ...] = ("X-Request-Id",)
    if need is not None and need.scope is not None:
        operation["security"] = [{SCHEME: [need.scope.value]}]
        headers += _COUNTED
    add_refusals(path, operation, need)
    if "content" not in operation["responses"]["422"]:  # nothing is asked with
        del operation["responses"]["422"]
    for answer in operation["responses"].values():
        told = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
        answer["headers"] = {**answer.get("headers", {}), **told}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _show(operation: Operation, example: dict[str, Any]) -> None:
    """Put an example where it belongs: parameters, the body, the answers that carry rows."""
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in example.get("parameters", {}):
            parameter["example"] = example["parameters"][parameter["name"]]
    if "body" in example:
        operation["requestBody"]["content"][JSON]["example"] = example["body"]
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if status.startswith("2") and "answer" in example:
            told = example.get(f"answer {status}", example["answer"])
            content[next(iter(content))]["example"] = told
