"""REST: two forecasters beside each other."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Final

import asyncpg
from fastapi import APIRouter, Query, Request, Response

from backend.api.answers import envelope, moment, reading, state_of
from backend.api.callers import caller_of
from backend.api.described import answering
from backend.api.known import refuse_unmatched
from backend.api.parameters import ComparisonSelection
from backend.api.problems import ProblemError
from backend.api.reads import instrument_ids
from backend.api.schemas_comparison import ComparisonRow
from backend.api.state import ApiState
from backend.store.comparison import Comparison, Forecaster
from domain.events import Target
from domain.losses import BASELINES
from domain.market import Horizon, Timeframe
from services.scores.blocks import block_ms

router = APIRouter(prefix="/v1/models", tags=["models"])

SERVED: Final = "served"
BLOCKS: Final = 500  # that are compared where no start is given,
MOST_BLOCKS: Final = 2_000  # and at most
_VERSION: Final = """
SELECT count(*) FROM ml_models_metadata
WHERE (exchange, timeframe, horizon, name, version) = ($1, $2, $3, $4, $5)
"""


@router.get("/compare", responses=answering(ComparisonRow))
async def compare(request: Request, selection: Annotated[ComparisonSelection, Query()]) -> Response:
    """What both said live of the same rows: losses by block, instrument, volatility and hour.

    `a` and `b` are `NAME` (all versions, one after the other) or `NAME@VERSION`; `served` is what
    was served. A negative `difference` is a smaller loss of `a`; its interval is that of a t test
    over blocks of twice the horizon. The decisions that were made about either say why in words.
    """
    state = state_of(request)
    one, other = _forecaster("a", selection.a), _forecaster("b", selection.b)
    until = min(selection.end or moment(state, None), moment(state, None))
    horizon = Horizon(
        Timeframe(_only("timeframe", selection.timeframe, map(str, state.status.timeframes))),
        int(_only("horizon", selection.horizon, map(str, state.status.horizons))),
    )
    exchanges = {each.exchange for each in state.status.instruments}
    asked = Comparison(
        one=one,
        other=other,
        target=_target(one, other),
        exchange=_only("exchange", selection.exchange, exchanges),
        horizon=horizon,
        start=_start(selection.start, until, horizon),
        end=selection.end,
    )
    async with reading(state) as connection:
        await instrument_ids(connection, caller_of(request), [asked.exchange])
        await _refuse_unknown(connection, state, asked)
        found = await asked.read(connection)
    return envelope([found], as_of=moment(state, None), watermark=until)


def _forecaster(parameter: str, text: str) -> Forecaster:
    try:
        return Forecaster.parse(text)
    except ValueError:
        detail = "name a model as NAME or NAME@VERSION, like lightgbm.direction@3"
        raise _mistake(parameter, detail) from None


def _target(one: Forecaster, other: Forecaster) -> Target:
    """What both forecast.

    Raises:
        ProblemError: not the same, or none.
    """
    named = {each.model.rpartition(".")[2] for each in (one, other)} - {SERVED}
    known = {target.value: target for target in BASELINES}
    if len(named) == 1 and named <= known.keys():
        return known[named.pop()]
    raise _mistake("b", f"{one} and {other} do not forecast the same target")


def _only(parameter: str, asked: object, known: Iterable[str]) -> str:
    """What is asked, or the only one that there is.

    Raises:
        ProblemError: there are several.
    """
    if asked is not None:
        return str(asked)
    there = sorted(set(known))
    if len(there) == 1:
        return there[0]
    raise _mistake(parameter, f"choose one of {', '.join(there)}" if there else "name one")


def _start(asked: datetime | None, until: datetime, horizon: Horizon) -> datetime:
    block = timedelta(milliseconds=block_ms(horizon))
    if asked is None:
        return until - BLOCKS * block
    if (until - asked) / block > MOST_BLOCKS:
        raise _mistake("start", f"lies more than {MOST_BLOCKS} blocks of {block} back")
    return asked


async def _refuse_unknown(
    connection: asyncpg.Connection, state: ApiState, asked: Comparison
) -> None:
    models = [each.model for each in (asked.one, asked.other)]
    await refuse_unmatched(connection, state, {"model": models})
    for parameter, each in (("a", asked.one), ("b", asked.other)):
        place = (asked.exchange, asked.horizon.timeframe.value, asked.horizon.steps)
        if each.version is not None and not await connection.fetchval(
            _VERSION, *place, each.model, each.version
        ):
            raise _mistake(parameter, f"{each} was never registered there")


def _mistake(parameter: str, detail: str) -> ProblemError:
    errors = [{"parameter": parameter, "detail": detail}]
    return ProblemError("bad_request", f"{parameter}: {detail}", errors=errors)
