"""What of a job is whose, and what all of its parts come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import orjson

from backend.store.database import PoolOrConnection

ENDED: Final = frozenset({"done", "failed"})
_READ: Final = frozenset({"progress", "result", "problem"})
_PARTS: Final = """
SELECT owner, state, attempts, progress, result, detail, problem FROM job_parts
WHERE job_id = $1 ORDER BY owner
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How far an owner is with a job; `problem` is what REST answers where it was refused."""

    owner: str
    state: str
    attempts: int
    progress: Mapping[str, Any] | None = None
    result: Sequence[Any] | None = None
    detail: str | None = None
    problem: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def together(parts: Sequence[Part]) -> Part:
    """What the parts of a job come to; it is done where any of them is and all have ended."""
    states = {one.state for one in parts}
    if states <= {"queued"}:
        state = "queued"
    elif not states <= ENDED:
        state = "running"
    else:
        state = "done" if "done" in states else "failed"
    told = [one.progress for one in parts if one.progress is not None]
    results = [row for one in parts for row in one.result or ()]
    return Part(
        owner="",
        state=state,
        attempts=max((one.attempts for one in parts), default=0),
        progress=reduce(_sum, told) if told else None,
        result=results if any(one.result is not None for one in parts) else None,
        detail="; ".join(dict.fromkeys(one.detail for one in parts if one.detail)) or None,
    )


def _sum(one: Any, other: Any) -> Any:  # noqa: ANN401 - JSON
    """Numbers and lists added to their like, by name."""
    if not isinstance(one, Mapping):
        return one + other
    both = {name: _sum(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **both}


def refusal(parts: Sequence[Part]) -> Mapping[str, Any] | None:
    """Why nobody could follow an order, as REST says it; None where somebody did, or may yet.

    Who does not know a symbol that others know has nothing to say.
    """
    if not all(part.state == "failed" for part in parts):
        return None
    told = [part.problem or {"code": "internal", "detail": part.detail or ""} for part in parts]
    rest = [one for one in told if one["code"] != "unknown_symbol"]
    if rest or len(told) == 1:
        return (rest or told)[0]
    near = sorted({name for one in told for name in one.get("suggestions", ())})
    head, _, _ = told[0]["detail"].partition(";")
    detail = f"{head}; nearest: {', '.join(near)}" if near else told[0]["detail"]
    return {**told[0], "detail": detail, "suggestions": near}


async def read_parts(place: PoolOrConnection, name: str) -> list[Part]:
    """How far each owner of a job is."""
    return [
        Part(**{k: orjson.loads(v) if k in _READ and v is not None else v for k, v in row.items()})
        for row in await place.fetch(_PARTS, name)
    ]
