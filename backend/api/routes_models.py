"""REST: models, their track record, and the dashboard's panels."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import asyncpg
import orjson
from fastapi import APIRouter, Query, Request, Response

from backend.api.answers import answer_list, envelope, moment, reading, state_of
from backend.api.callers import Caller, caller_of
from backend.api.described import listed
from backend.api.known import refuse_unmatched
from backend.api.model_pages import MODELS, read_models
from backend.api.parameters import DashboardSelection, ModelSelection, ScoreSelection
from backend.api.reads import instrument_ids
from backend.api.schemas import ModelRow, ScoreRow
from backend.api.shelves import Filters
from backend.api.spellings import ListAnswer
from backend.api.visible import panel_for, whole_exchanges
from backend.store.score_days import Scope
from backend.store.track_record import read_record
from domain.events import Role

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
        await refuse_unmatched(connection, state, asked)
        found, following = await read_models(connection, caller, selection)
    told = ListAnswer(
        data=found,
        described=MODELS.described,
        as_of=moment(state, selection.as_of),
        following=following,
    )
    return await answer_list(request, selection.format, told)


@router.get("/scores", responses=listed(ScoreRow))
async def scores(request: Request, selection: Annotated[ScoreSelection, Query()]) -> Response:
    """The track record of every forecaster that was scored; all roles unless one is named."""
    state, caller = state_of(request), caller_of(request)
    scope = Scope(
        exchanges=selection.exchange,
        timeframes=selection.timeframe,
        horizons=selection.horizon,
        roles=selection.role,
        models=selection.model,
        start=selection.start,
        end=selection.end,
        scored_by=selection.as_of,
    )
    async with reading(state) as connection:
        symbols = selection.wanted_symbols
        ids = await instrument_ids(connection, caller, selection.exchange, symbols)
        if symbols or not caller.sees_all:
            scope = replace(scope, instruments=ids)
        asked: Filters = {"horizon": list(selection.horizon), "model": selection.model}
        await refuse_unmatched(connection, state, asked)
        record = await read_record(connection, scope)
        verdicts = await connection.fetch(_VERDICTS, selection.as_of)
    newest = {(v["exchange"], v["timeframe"], v["horizon"], v["target"]): v for v in verdicts}
    for row in record:
        verdict = newest.get((row["exchange"], row["timeframe"], row["horizon"], row["target"]))
        row["gate"] = dict(verdict) if verdict and row["role"] == Role.CHAMPION else None
    told = ListAnswer(
        data=record,
        described=ScoreRow,
        as_of=moment(state, selection.as_of),
        watermark=max((row["last_as_of"] for row in record), default=None),
    )
    return await answer_list(request, selection.format, told)


@router.get("/dashboard")
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


# The newest verdict of the gate, by the primary key of `skill_verdicts`.
_VERDICTS = """
    SELECT DISTINCT ON (exchange, timeframe, horizon, target)
           exchange, timeframe, horizon, target, at, baseline, skill, low, high, blocks, count,
           no_skill
    FROM skill_verdicts WHERE $1::timestamptz IS NULL OR at <= $1
    ORDER BY exchange, timeframe, horizon, target, at DESC
    """
