"""REST: models, their part in what is served, and the dashboard's panels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import asyncpg
import orjson
from fastapi import APIRouter, Query, Request, Response

from backend.api.answers import answer_list, envelope, moment, reading, starting, state_of
from backend.api.callers import Caller, caller_of
from backend.api.described import answering, listed
from backend.api.known import refuse_unmatched
from backend.api.model_pages import MODELS, read_models
from backend.api.parameters import DashboardSelection, Formatted, ModelSelection
from backend.api.reads import instrument_ids
from backend.api.schemas import ModelRow
from backend.api.schemas_scores import WeightRow
from backend.api.schemas_system import PanelRow
from backend.api.shelves import Filters
from backend.api.spellings import ListAnswer
from backend.api.visible import panel_for, whole_exchanges

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", responses=listed(ModelRow))
async def models(request: Request, selection: Annotated[ModelSelection, Query()]) -> Response:
    """Fitted models, newest first, with the role that they have now.

    They are of all instruments of their exchange: who does not see them all does not see them.

    `member` (has a part in what is served), `challenger` (on trial), `previous` (what a rollback
    goes back to), or null.
    """
    state, caller = state_of(request), caller_of(request)
    asked: Filters = {"horizon": list(selection.horizon), "model": selection.model}
    async with reading(state) as connection:
        await instrument_ids(connection, caller, selection.exchange)
        await refuse_unmatched(connection, state, asked)
        found, following = await read_models(connection, caller, selection)
    told = ListAnswer(
        data=found,
        described=MODELS.described,
        as_of=moment(state, selection.as_of),
        following=following,
    )
    return await answer_list(request, selection.format, told)


@router.get("/models/pool", responses=listed(WeightRow))
async def pool(request: Request, selection: Annotated[Formatted, Query()]) -> Response:
    """What part each member has now in the pool of its target; it moves with every label.

    It is of all instruments of an exchange: who does not see them all does not see it.
    """
    state = state_of(request)
    if state.weights is None:
        raise starting(state)
    async with reading(state) as connection:
        seen = await whole_exchanges(connection, caller_of(request))
    weights = [asdict(one) for one in state.weights() if one.exchange in seen]
    told = ListAnswer(data=weights, described=WeightRow, as_of=state.clock.now())
    return await answer_list(request, selection.format, told)


@router.get("/dashboard", responses=answering(PanelRow))
async def dashboard(
    request: Request, selection: Annotated[DashboardSelection, Query()]
) -> Response:
    """The panels as they were last computed, each with its version."""
    state, caller = state_of(request), caller_of(request)
    async with reading(state) as connection:
        found = await connection.fetch(
            "SELECT panel, scope, as_of, version, payload FROM dashboard_data"
            " WHERE $1::text[] IS NULL OR panel = ANY($1) ORDER BY panel, scope",
            selection.panel or None,
        )
        whole = set() if caller.sees_all else await whole_exchanges(connection, caller)
    data = [{**row, "payload": _payload(row, caller, whole)} for row in found]
    return envelope(
        data,
        as_of=state.clock.now(),
        watermark=min((row["as_of"] for row in found), default=None),
        revision=max((row["version"] for row in found), default=None),
    )


def _payload(row: asyncpg.Record, caller: Caller, whole: set[str]) -> object:
    if caller.sees_all:
        return orjson.Fragment(row["payload"])
    return panel_for(caller, whole, row["panel"], orjson.loads(row["payload"]))
