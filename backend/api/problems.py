"""Errors as RFC 9457 problem objects, one registry for REST and the socket."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Scope

from backend.api.needs import methods_at
from backend.api.parameters import PARAMETERS
from backend.api.request_ids import REQUEST_ID, request_id_of
from backend.store.database import CONNECTION_ERRORS
from backend.store.lacking import ABSENT, MEND
from domain.errors import (
    AlphaPulseError,
    ExchangeError,
    StoreError,
    UnknownExchangeError,
    UnknownNameError,
    UnknownSourceError,
    UnknownSymbolError,
    UnknownTimeframeError,
    UsageError,
    in_one_line,
    nearest,
    shortened,
)
from domain.keys import masked

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MOST_MISTAKES: Final = 10  # of one request that are named
STORE_FAILURES: Final = (StoreError, asyncpg.PostgresError, *CONNECTION_ERRORS)
_NUL: Final = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means: HTTP status, title, and whether trying again can help."""

    status: int
    title: str
    temporary: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "bad_json": Kind(400, "Not a JSON object"),
    "bad_request": Kind(422, "Malformed request"),
    "bad_cursor": Kind(422, "Malformed cursor"),
    "unauthorized": Kind(401, "Key needed"),
    "token_expired": Kind(401, "Key expired"),
    "forbidden": Kind(403, "Not allowed"),
    "unreachable": Kind(502, "Exchange unreachable", temporary=True),
    "unknown_timeframe": Kind(422, "Unknown timeframe"),
    "unknown_exchange": Kind(404, "Unknown exchange"),
    "unknown_source": Kind(404, "Unknown source"),
    "unknown_symbol": Kind(404, "Unknown symbol"),
    "unknown_stream": Kind(404, "Unknown stream"),
    "unknown_method": Kind(404, "Unknown method"),
    "not_found": Kind(404, "Not found"),
    "artifact_missing": Kind(404, "A model's file is missing"),
    "epoch_changed": Kind(410, "The log began anew"),
    "unknown_offset": Kind(404, "Offset that the log does not have"),
    "idempotency_key_reused": Kind(422, "Key of another request"),
    "too_many_jobs": Kind(409, "Too many jobs", temporary=True),
    "not_as_it_was": Kind(409, "No longer what it was"),
    "not_acceptable": Kind(406, "No such spelling"),
    "method_not_allowed": Kind(405, "Method not allowed"),
    "too_many_subscriptions": Kind(409, "Too many subscriptions"),
    "too_many_connections": Kind(409, "Too many connections"),
    "misdirected": Kind(421, "Addressed to another host"),
    "body_too_large": Kind(413, "Body too large"),
    "body_late": Kind(408, "Body did not come in time", temporary=True),
    "frame_too_large": Kind(413, "Frame too large"),
    "answer_too_large": Kind(413, "Answer too large"),
    "upgrade_required": Kind(426, "Upgrade required"),
    "rate_limited": Kind(429, "Too many requests", temporary=True),
    "internal": Kind(500, "Internal error", temporary=True),
    "incomplete": Kind(500, "The database lacks something"),
    "starting": Kind(503, "Starting", temporary=True),
    "stale": Kind(503, "Predictions are stale", temporary=True),
    "unavailable": Kind(503, "Unavailable", temporary=True),
}

_UNKNOWN_NAMES: Final[Mapping[type[UnknownNameError], str]] = {
    UnknownTimeframeError: "unknown_timeframe",
    UnknownExchangeError: "unknown_exchange",
    UnknownSourceError: "unknown_source",
    UnknownSymbolError: "unknown_symbol",
}


class ProblemError(AlphaPulseError):
    """A request that ends in a problem object.

    Args:
        code: A key of `KINDS`.
        detail: One line a user can act on.
        errors: What is wrong with which parameter: `{"parameter", "detail"}`.
        more: Further members of the object (`suggestions`, `retry_after_ms`, `progress`).
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        **more: Any,  # noqa: ANN401 - extension members are of any JSON type
    ) -> None:
        self.code = code
        self.detail = masked(detail)  # it may repeat what was sent in a wrong place
        self.errors = [{name: masked(text) for name, text in one.items()} for one in errors]
        super().__init__(self.detail)
        self.more = more

    @property
    def status(self) -> int:
        return KINDS[self.code].status

    def body(self) -> dict[str, Any]:
        """The problem object, as sent on REST and on the socket."""
        kind = KINDS[self.code]
        return {
            "type": f"/docs#{self.code}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "code": self.code,
            "temporary": kind.temporary,
            "errors": self.errors,
            **self.more,
        }


def from_usage(error: UsageError) -> ProblemError:
    """The problem that says what `error` says."""
    if isinstance(error, UnknownNameError):
        code = _UNKNOWN_NAMES.get(type(error), "not_found")
        return ProblemError(code, str(error), suggestions=error.suggestions)
    return ProblemError("bad_request", str(error))


def problem_of(error: Exception) -> dict[str, Any] | None:
    """What is kept of an order's refusal, for whoever answers it; None where it is no refusal."""
    if isinstance(error, ExchangeError):
        return {"code": "unreachable", "detail": str(error), "retry_after_ms": 5_000}
    if not isinstance(error, UsageError):
        return None
    problem = from_usage(error)
    return {"code": problem.code, "detail": problem.detail, **problem.more}


def answer(problem: ProblemError, scope: Scope) -> Response:
    """`problem` as the HTTP response to a request."""
    name = request_id_of(scope)
    headers = {"Cache-Control": "no-store", REQUEST_ID: name}
    if KINDS[problem.code].temporary:
        headers["Retry-After"] = str(-(-problem.more.get("retry_after_ms", 1_000) // 1_000))
    if problem.status == KINDS["method_not_allowed"].status:
        headers["Allow"] = problem.more["allow"]
    if problem.status == KINDS["unauthorized"].status:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status == KINDS["upgrade_required"].status:
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    return Response(
        orjson.dumps(
            {**problem.body(), "instance": masked(shortened(scope["path"])), "request_id": name}
        ),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def install(app: FastAPI) -> None:
    """Make every error of `app`, the framework's own included, a problem object."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(UsageError, _on_usage)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(asyncpg.DataError, _on_unstorable)
    for failure in STORE_FAILURES:
        app.add_exception_handler(failure, _on_store)
    app.add_exception_handler(Exception, _on_bug)


def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for this type only
    return answer(error, request.scope)


def _on_usage(request: Request, error: Exception) -> Response:
    assert isinstance(error, UsageError)  # noqa: S101 - registered for this type only
    return answer(from_usage(error), request.scope)


def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    items = error.errors()[:MOST_MISTAKES]
    for item in items:
        if item["type"] == "json_invalid":
            detail = f"the body is not JSON: {item['ctx']['error']} at character {item['loc'][1]}"
            return answer(ProblemError("bad_json", detail), request.scope)
    errors = [_parameter(item, request) for item in items]
    detail = "; ".join(f"{item['parameter']}: {item['detail']}" for item in errors)
    return answer(ProblemError("bad_request", detail, errors=errors), request.scope)


def _parameter(item: Mapping[str, Any], request: Request) -> dict[str, str]:
    where, *path = item["loc"]
    told = path if where == "body" else [part for part in path if isinstance(part, str)]
    name = ".".join(map(str, told)) or where
    detail = str(item["msg"]).removeprefix("Value error, ")
    if name == "body" and item["type"] != "value_error":
        detail = "a JSON object is required, sent as application/json"
    elif path and isinstance(path[-1], int):  # one of several values
        detail += f", not {shortened(str(item['input']))!r}"
    elif item["type"] == "extra_forbidden":
        close = nearest(name, _taken(request, where))
        detail = "unknown parameter" + (f"; did you mean {', '.join(close)}?" if close else "")
        if name in PARAMETERS:
            detail = "no parameter of this list"
    return {"parameter": shortened(name), "detail": detail}


def _taken(request: Request, where: str) -> list[str]:
    """What the route of a request takes in its query, or in its body."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return []
    fields = route.dependant.query_params if where == "query" else route.dependant.body_params
    models = (field.field_info.annotation for field in fields)
    return [name for model in models if model for name in getattr(model, "model_fields", ())]


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    path = request.url.path
    if error.status_code == KINDS["method_not_allowed"].status:
        problem = not_answered(path, request.method)
    elif error.status_code == KINDS["not_found"].status:
        problem = nothing_at(path)
    else:
        problem = ProblemError("bad_request", str(error.detail))
    return answer(problem, request.scope)


def not_answered(path: str, method: str) -> ProblemError:
    """The problem of a method that a path does not have."""
    allow = ", ".join("GET, HEAD" if one == "GET" else one for one in methods_at(path))
    detail = f"{shortened(path)} does not answer {shortened(method)}"
    return ProblemError("method_not_allowed", detail, allow=allow)


def nothing_at(path: str) -> ProblemError:
    """The problem of a path that is none."""
    return ProblemError("not_found", f"there is nothing at {shortened(path)}; /docs lists what is")


def unreadable(error: Exception) -> ProblemError:
    """The problem of who asks while the database is away, or lacks a table; the log says why."""
    if isinstance(error, ABSENT):
        said = in_one_line(error)
        log.error("the database lacks what is asked of it: %s", said)
        detail = f"{said}: {MEND}; `alphapulse doctor` names all that is missing"
        return ProblemError("incomplete", detail)
    log.warning("a read failed: %s", error)
    return ProblemError("unavailable", "the database cannot be read right now")


def unstorable(error: Exception) -> ProblemError:
    """The problem of who sends what the database has no room for; the log says what."""
    if isinstance(error, _NUL):
        return ProblemError("bad_request", "a name holds a character that no name has (NUL)")
    log.warning("the database does not take a value: %s", error)
    return ProblemError("bad_request", "a value lies beyond what is kept of its kind")


def _on_unstorable(request: Request, error: Exception) -> Response:
    return answer(unstorable(error), request.scope)


def _on_store(request: Request, error: Exception) -> Response:
    return answer(unreadable(error), request.scope)


def _on_bug(request: Request, error: Exception) -> Response:
    told = {"request_id": request_id_of(request.scope)}
    log.error("%s failed", request.url.path, exc_info=error, extra=told)
    problem = ProblemError("internal", "the request failed; the log says why, by its request_id")
    return answer(problem, request.scope)
