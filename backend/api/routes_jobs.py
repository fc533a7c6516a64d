"""REST: work that takes its time, asked for once and looked at later."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from backend.api.answers import answer_list, envelope, moment, reading, starting, state_of
from backend.api.callers import caller_of
from backend.api.described import answering, listed
from backend.api.job_pages import JOBS, read_own, read_page
from backend.api.ordering import REFUSALS, Key, ask, job_answer
from backend.api.parameters import JobSelection
from backend.api.problems import ProblemError
from backend.api.refusals import refused
from backend.api.schemas_jobs import BackfillOrder, JobRow, RetrainOrder
from backend.api.spellings import ListAnswer
from backend.store.jobs import NothingWaitsError
from domain.errors import shortened

router = APIRouter(prefix="/v1", tags=["jobs"])

ORDERED: Final = answering(JobRow, 200, 202) | refused(*REFUSALS)
UNKNOWN: Final = refused("unknown_exchange", "unknown_symbol")


@router.post("/retrains", status_code=202, responses=ORDERED | refused("unknown_exchange"))
async def retrain(request: Request, order: RetrainOrder, key: Key = None) -> Response:
    """Fit the models at the next tick, not at the next time of their schedule.

    `result` names the close of each training, and what it registered with the first verdict on it.
    A place with too few rows that have labels is left out, and said in `detail`.
    """
    return await _asked(request, "retrain", order, key)


@router.post("/backfills", status_code=202, responses=ORDERED | UNKNOWN)
async def backfill(request: Request, order: BackfillOrder, key: Key = None) -> Response:
    """Ask the exchange again for candles that are missing, also for those that it did not have.

    It is done when each of them is stored, or the exchange has said again that there is none.
    What lies before the first stored candle is not asked for.
    """
    return await _asked(request, "backfill", order, key)


@router.get("/jobs", responses=listed(JobRow))
async def jobs(request: Request, selection: Annotated[JobSelection, Query()]) -> Response:
    """The jobs that this key asked for, newest first; the operator sees all."""
    state = state_of(request)
    async with reading(state) as connection:
        found, following = await read_page(connection, caller_of(request), selection)
    told = ListAnswer(
        data=found, described=JOBS.described, as_of=moment(state, None), following=following
    )
    return await answer_list(request, selection.format, told)


@router.get("/jobs/{id}", responses=answering(JobRow) | refused("not_found"))
async def job(
    request: Request,
    name: Annotated[str, Path(alias="id", max_length=64, description="of the answer to the order")],
) -> Response:
    """One job; another's is as unknown as one that is none."""
    state = state_of(request)
    async with reading(state) as connection:
        found = await read_own(connection, caller_of(request), name)
    if found is None:
        raise _unknown(name)
    return envelope([found], as_of=state.clock.now())


@router.delete("/jobs/{id}", responses=answering(JobRow) | refused("not_found", "not_as_it_was"))
async def cancel(
    request: Request,
    name: Annotated[str, Path(alias="id", max_length=64, description="of the answer to the order")],
) -> Response:
    """Cancel what of an order nobody has begun, as one that waits for a process that is away.

    It has failed then, and says who cancelled it; of several panels those that have begun go on.
    409 `not_as_it_was` where nothing of it waits.
    """
    state, caller = state_of(request), caller_of(request)
    if state.orders is None:
        raise starting(state)
    async with reading(state) as connection:
        before = await read_own(connection, caller, name)
    if before is None:
        raise _unknown(name)
    try:
        await state.orders.cancel(before, caller.name)
    except NothingWaitsError as error:
        raise ProblemError("not_as_it_was", str(error)) from error
    async with reading(state) as connection:
        after = await read_own(connection, caller, name)
    if after is None:
        raise _unknown(name)
    return envelope([after], as_of=state.clock.now())


def _unknown(name: str) -> ProblemError:
    return ProblemError("not_found", f"there is no job {shortened(name)}")


async def _asked(request: Request, kind: str, order: BaseModel, key: str | None) -> Response:
    wanted: dict[str, Any] = order.model_dump(mode="json", exclude_none=True)
    return job_answer(request, await ask(request, kind, wanted, key))
