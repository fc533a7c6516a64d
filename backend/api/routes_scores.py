"""REST: the track record, as a whole, by day, and by what was said."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Query, Request, Response

from backend.api.answers import answer_list, moment, reading, state_of
from backend.api.callers import caller_of
from backend.api.described import listed
from backend.api.known import refuse_unmatched
from backend.api.parameters import DaySelection, RecordSelection, ScoreSelection
from backend.api.reads import instrument_ids
from backend.api.schemas import Row, ScoreRow
from backend.api.schemas_scores import CalibrationRow, DayRow
from backend.api.shelves import Filters
from backend.api.spellings import ListAnswer
from backend.store.calibration import read_calibration
from backend.store.panels import RECORD_DAYS
from backend.store.score_days import DAY, Scope
from backend.store.track_record import read_daily, read_record
from domain.events import Role, Target

router = APIRouter(prefix="/v1/scores", tags=["models"])
_TARGETS: Final = (Target.DIRECTION, Target.QUANTILES, Target.VOLATILITY)


@router.get("", responses=listed(ScoreRow))
async def scores(request: Request, selection: Annotated[ScoreSelection, Query()]) -> Response:
    """The track record of every forecaster that was scored; all roles unless one is named."""
    async with reading(state_of(request)) as connection:
        record = await read_record(connection, await _scope(request, connection, selection))
        verdicts = await connection.fetch(_VERDICTS, selection.as_of)
    newest = {(v["exchange"], v["timeframe"], v["horizon"], v["target"]): v for v in verdicts}
    for row in record:
        verdict = newest.get((row["exchange"], row["timeframe"], row["horizon"], row["target"]))
        row["gate"] = dict(verdict) if verdict and row["role"] == Role.CHAMPION else None
    watermark = max((row["last_as_of"] for row in record), default=None)
    return await _answer(request, selection, ScoreRow, record, watermark)


@router.get("/days", responses=listed(DayRow))
async def days(request: Request, selection: Annotated[DaySelection, Query()]) -> Response:
    """The same by day, of the newest 60 unless `start` says otherwise."""
    targets = [target for target in _TARGETS if target.value in selection.target] or _TARGETS
    async with reading(state_of(request)) as connection:
        scope = await _scope(request, connection, selection, newest=True)
        found = await read_daily(connection, targets, scope)
    watermark = max((row["day"] for row in found), default=None)
    return await _answer(request, selection, DayRow, found, watermark)


@router.get("/calibration", responses=listed(CalibrationRow))
async def calibration(request: Request, selection: Annotated[RecordSelection, Query()]) -> Response:
    """How often each class came where its chance was said to be such; of the newest 60 days."""
    async with reading(state_of(request)) as connection:
        scope = await _scope(request, connection, selection, newest=True)
        found = await read_calibration(connection, scope)
    return await _answer(request, selection, CalibrationRow, found, None)


async def _scope(
    request: Request,
    connection: asyncpg.Connection,
    selection: RecordSelection,
    *,
    newest: bool = False,
) -> Scope:
    """Whose record is asked for, of what the caller sees.

    Raises:
        ProblemError: a name that nothing has.
    """
    state, caller = state_of(request), caller_of(request)
    start = selection.start
    if newest and start is None:
        start = min(selection.end or moment(state, None), moment(state, None)) - RECORD_DAYS * DAY
    scope = Scope(
        exchanges=selection.exchange,
        timeframes=selection.timeframe,
        horizons=selection.horizon,
        start=start,
        end=selection.end,
        scored_by=selection.as_of,
    )
    asked: Filters = {"horizon": list(selection.horizon)}
    if isinstance(selection, ScoreSelection):
        scope = replace(scope, roles=selection.role, models=selection.model)
        asked["model"] = selection.model
    symbols = selection.wanted_symbols
    ids = await instrument_ids(connection, caller, selection.exchange, symbols)
    await refuse_unmatched(connection, state, asked)
    return replace(scope, instruments=ids) if symbols or not caller.sees_all else scope


async def _answer(
    request: Request,
    selection: RecordSelection,
    described: type[Row],
    found: list[dict[str, Any]],
    watermark: datetime | None,
) -> Response:
    told = ListAnswer(
        data=found,
        described=described,
        as_of=moment(state_of(request), selection.as_of),
        watermark=watermark,
    )
    return await answer_list(request, selection.format, told)


# The newest verdict of the gate, by the primary key of `skill_verdicts`.
_VERDICTS = """
    SELECT DISTINCT ON (exchange, timeframe, horizon, target)
           exchange, timeframe, horizon, target, at, baseline, skill, low, high, blocks, count,
           no_skill
    FROM skill_verdicts WHERE $1::timestamptz IS NULL OR at <= $1
    ORDER BY exchange, timeframe, horizon, target, at DESC
    """
