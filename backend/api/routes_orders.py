"""REST: orders about the models of the running system."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from backend.api.described import answering
from backend.api.ordering import REFUSALS, Key, answer, ask, job_answer
from backend.api.refusals import refused
from backend.api.schemas_jobs import JobRow
from backend.api.schemas_system import RolledBackRow
from domain.market import Timeframe

router = APIRouter(prefix="/v1/models", tags=["models"])

LATER: Final = answering(JobRow, 202)


class Place(BaseModel):
    """A fitted model, and where; the rest where versions of it have places in several panels."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="`lightgbm.direction`", min_length=1, max_length=64)
    exchange: str | None = Field(None, description="exchange id", min_length=1, max_length=64)
    timeframe: Timeframe | None = Field(None, description="`1h`")
    horizon: int | None = Field(None, description="in candles", gt=0, lt=100_000)


@router.post(
    "/rollback",
    responses=answering(RolledBackRow) | LATER | refused("not_found", *REFUSALS),
)
async def roll_back(request: Request, place: Place, key: Key = None) -> Response:
    """Take a model's version from its place, for good; the one before it speaks at the next close.

    `previous` is that version, null where none is left: then the other members serve, or the
    baseline, and rows say `no_skill.direction`. 202 with its job while the process that runs the
    panel is away, or has not got to it: it does it when it comes back.
    """
    wanted = place.model_dump(mode="json", exclude_none=True)
    ordered = await ask(request, "rollback", wanted, key, waits=True)
    if ordered.waiting:
        return job_answer(request, ordered)
    rows = [row for part in ordered.parts for row in part.result or ()]
    return answer(request, ordered, rows, 200)
