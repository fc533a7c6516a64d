"""The name of a request, its caller's or one of ours: answers, problems and logs have it."""

from __future__ import annotations

import re
import uuid
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

REQUEST_ID: Final = "X-Request-Id"
_TAME: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)  # an id that goes into logs as it is


def request_id_of(scope: Scope) -> str:
    """What a request is called; always the same of one request."""
    state: dict[str, str] = scope.setdefault("state", {})
    if "request_id" not in state:
        given = Headers(scope=scope).get(REQUEST_ID, "")
        state["request_id"] = given if _TAME.fullmatch(given) else uuid.uuid4().hex
    return state["request_id"]
