"""The answers that rows come in, and how a route is described in OpenAPI."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field

from backend.api.formats import ARROW, CSV
from backend.api.messages import Problem
from backend.api.schemas import Row

T = TypeVar("T")


class Meta(Row):
    """Of what moment an answer is, and how complete."""

    as_of: datetime
    watermark: datetime | None = Field(description="every selected series reaches at least to here")
    coverage: dict[str, Any] | None = Field(description="candles expected, present, and gaps")
    revision: int | None


class Answer(Row, Generic[T]):
    """The one shape of every list."""

    data: list[T]
    meta: Meta
    next: str | None = Field(description="ask again with `cursor=` this, until it is null")


class RestProblem(Problem):
    """A problem object; which further members it has depends on its `code`."""

    instance: str = Field(description="the path that was asked for")
    request_id: str = Field(description="as `X-Request-Id` of the answer, and of the log")


class Columns(Row):
    """The same with `format=columns`."""

    data: dict[str, list[Any]] = Field(description="by name, all of one length")
    meta: Meta
    next: str | None


def listed(row: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The answer of a route that has `format`, as FastAPI's `responses` takes it."""
    texts = {CSV: {"schema": {"type": "string"}}, ARROW: {"schema": {"type": "string"}}}
    answer = {"model": Answer[row] | Columns, "description": _purpose(row), "content": texts}  # type: ignore[valid-type]
    return {200: answer, 304: {"description": "what `If-None-Match` names is still so"}}


class RejectedRow(Row):
    """An instrument of a query that is not known."""

    instrument: str = Field(description="as it was named")
    code: str
    detail: str
    suggestions: list[str] = Field(description="the nearest names; of the first few")


class QueryAnswer(Answer[T]):
    """The rows of the instruments that are known."""

    rejected: list[RejectedRow]


class QueryColumns(Columns):
    """The same with `format=columns`."""

    rejected: list[RejectedRow]


def queried(row: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The answer of a route that takes instruments by names in its body."""
    answer = listed(row)
    del answer[304]  # only what an address alone asks for can be kept
    answer[200]["model"] = QueryAnswer[row] | QueryColumns  # type: ignore[valid-type]
    return answer


def answering(row: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answer of a route with such rows, as FastAPI's `responses` takes it; 200 by itself."""
    told = {"model": Answer[row], "description": _purpose(row)}  # type: ignore[valid-type]
    return {status: dict(told) for status in statuses or (200,)}


def described(answer: Any) -> dict[int | str, dict[str, Any]]:  # noqa: ANN401 - a model, or several
    """The answer of a route that is no list of ours, as FastAPI's `responses` takes it."""
    return {200: {"model": answer, "description": "as `application/json`"}}


def _purpose(row: type[BaseModel]) -> str:
    return (row.__doc__ or "").strip()
