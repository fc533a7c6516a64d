"""A client's frame becomes a request, or a problem that says what is wrong with it."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ValidationError

from backend.api import messages
from backend.api.problems import MOST_MISTAKES, ProblemError
from domain.errors import nearest, shortened


def parse(text: str | None, *, limit: int) -> dict[str, Any]:
    """The JSON object in a text frame, its `method` in lower case; None is a binary frame.

    Raises:
        ProblemError: it is too large, or no JSON object.
    """
    if text is None:
        raise ProblemError("bad_json", "send JSON objects in text frames")
    if len(text.encode()) > limit:
        raise ProblemError("frame_too_large", f"a frame may have {limit} bytes")
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ProblemError("bad_json", f"the frame is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise ProblemError("bad_json", "the frame is not a JSON object")
    method = str(request.get("method", "")).lower()
    return {**request, "method": messages.ALIASES.get(method, method)}


def validate(request: dict[str, Any]) -> Any:  # noqa: ANN401 - one of several message models
    """The request as its model.

    Raises:
        ProblemError: `unknown_method`, or `bad_request` with a pointer to each mistake.
    """
    method = request["method"]
    if method not in messages.METHODS:
        raise ProblemError(
            "unknown_method",
            f"unknown method {shortened(method)!r}; known: {', '.join(messages.METHODS)}",
            suggestions=nearest(method, messages.METHODS),
        )
    try:
        return messages.CLIENT.validate_python(request)
    except ValidationError as error:
        errors = [
            {"pointer": _pointer(item["loc"]), "detail": item["msg"]}
            for item in error.errors()[:MOST_MISTAKES]
        ]
        raise ProblemError("bad_request", "the request is malformed", errors=errors) from None


def _pointer(place: tuple[int | str, ...]) -> str:
    return "/" + "/".join(str(part) for part in place[1:])  # the first names the method
