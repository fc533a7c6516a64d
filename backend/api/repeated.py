"""A parameter that takes one value and is given several is a mistake, not a choice."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from fastapi import Request

from backend.api.problems import ProblemError

OURS: Final = "/v1/"  # elsewhere mistakes are said in other ways


async def refuse_repeated(request: Request) -> None:
    """See that only lists are repeated.

    Raises:
        ProblemError: `bad_request`, which names the others.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    repeated = {name: count for name, count in counts.items() if count > 1}
    path: str = request.scope["route"].path_format  # as the document has it
    if not repeated or not path.startswith(OURS):
        return
    described = request.app.openapi()["paths"][path][request.method.lower()]
    single = {one["name"] for one in described.get("parameters", ()) if not _is_list(one["schema"])}
    errors = [
        {"parameter": name, "detail": f"takes one value, and was given {count}"}
        for name, count in repeated.items()
        if name in single
    ]
    if errors:
        detail = "; ".join(f"{one['parameter']}: {one['detail']}" for one in errors)
        raise ProblemError("bad_request", detail, errors=errors)


def _is_list(schema: dict[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in (schema, *schema.get("anyOf", ())))
