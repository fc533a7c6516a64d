"""Orders as they come by REST: entered as jobs, and answered with what they came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import asyncpg
from fastapi import Header, Request, Response

from backend.api.answers import envelope, starting, state_of
from backend.api.callers import caller_of
from backend.api.job_pages import spelled
from backend.api.problems import ProblemError
from backend.store.job_parts import Part, refusal
from backend.store.jobs import Order, ReusedKeyError, TooManyJobsError

REPLAYED: Final = "Idempotency-Replayed"
OPEN: Final = frozenset({"queued", "running"})
REFUSALS: Final = ("idempotency_key_reused", "too_many_jobs")
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="a name of yours for this request: sent again it is answered with the same job",
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
    ),
]


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order that was entered: its job, whether it had come before, how far its owners are."""

    row: asyncpg.Record
    replayed: bool
    parts: Sequence[Part]

    @property
    def waiting(self) -> bool:
        """Whether an owner has not ended yet: it is away, or it takes its time."""
        return not all(part.ended for part in self.parts)


async def ask(
    request: Request, kind: str, wanted: Mapping[str, Any], key: str | None, *, waits: bool = False
) -> Ordered:
    """Enter an order and see what becomes of it.

    Args:
        request: whose.
        kind: of job.
        wanted: what is asked for.
        key: the caller's name for it.
        waits: for its owners, as long as `patience_s`.

    Raises:
        ProblemError: `starting`, or it is refused.
        UsageError: it is about nothing that there is.
    """
    state = state_of(request)
    if state.orders is None:
        raise starting(state)
    named = Order(kind=kind, request=wanted, caller=caller_of(request).name, key=key)
    try:
        asked = await state.orders.ask(named)
    except ReusedKeyError as error:
        raise ProblemError("idempotency_key_reused", str(error)) from error
    except TooManyJobsError as error:
        raise ProblemError("too_many_jobs", str(error), retry_after_ms=60_000) from error
    if not waits:
        return Ordered(asked.row, asked.replayed, [])
    parts = await state.orders.parts(asked, within_s=state.patience_s)
    if (refused := refusal(parts)) is not None:
        raise ProblemError(**refused)
    return Ordered(asked.row, asked.replayed, parts)


def job_answer(request: Request, ordered: Ordered) -> Response:
    """The job itself, with its place."""
    row = spelled(ordered.row)
    return answer(request, ordered, [row], 202 if row["state"] in OPEN else 200)


def answer(request: Request, ordered: Ordered, rows: list[dict[str, Any]], status: int) -> Response:
    """What became of an order, with the place of its job."""
    told = envelope(rows, as_of=state_of(request).clock.now())
    told.status_code = status
    told.headers["Location"] = f"/v1/jobs/{ordered.row['id']}"
    if ordered.replayed:
        told.headers[REPLAYED] = "true"
    return told
