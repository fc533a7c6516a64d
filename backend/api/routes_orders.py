"""REST: orders about the models of the running system."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from backend.api.answers import envelope, starting, state_of
from backend.api.described import answering
from backend.api.refusals import refused
from backend.api.schemas_system import RolledBackRow
from domain.market import Timeframe

router = APIRouter(prefix="/v1/models", tags=["models"])


class Place(BaseModel):
    """A fitted model, and where; the rest where versions of it have places in several panels."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="`lightgbm.direction`", min_length=1, max_length=64)
    exchange: str | None = Field(None, description="exchange id", min_length=1, max_length=64)
    timeframe: Timeframe | None = Field(None, description="`1h`")
    horizon: int | None = Field(None, description="in candles", gt=0, lt=100_000)


@router.post("/rollback", responses=answering(RolledBackRow) | refused("not_found", "elsewhere"))
async def roll_back(request: Request, place: Place) -> Response:
    """Take a model's version from its place, for good; the one before it speaks at the next close.

    `previous` is that version, null where none is left: then the other members serve, or the
    baseline, and rows say `no_skill.direction`.
    """
    state = state_of(request)
    if state.seats is None:
        raise starting(state)
    done = await state.seats.roll_back(
        place.model,
        exchange=place.exchange,
        timeframe=place.timeframe and place.timeframe.value,
        horizon=place.horizon,
    )
    return envelope([asdict(done)], as_of=state.clock.now())
