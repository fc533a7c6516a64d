"""REST: what is watched, and orders to watch more or less of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from backend.api import rows
from backend.api.answers import answer_list, envelope, reading, starting, state_of
from backend.api.callers import caller_of
from backend.api.described import answering, listed
from backend.api.parameters import Formatted
from backend.api.problems import ProblemError
from backend.api.refusals import refused
from backend.api.schemas import InstrumentRow, OrderRow
from backend.api.spellings import ListAnswer
from backend.api.state import ApiState, Members
from backend.api.watched import standing
from domain.errors import ExchangeError
from domain.market import Instrument

router = APIRouter(prefix="/v1/instruments", tags=["instruments"])

_EVER: Final = """
SELECT exchange, symbol, kind, base, quote, tick_size, lot_size, min_notional, watched_from,
       watched_until, joined_at, added, removed
FROM instruments WHERE watched_from IS NOT NULL ORDER BY exchange, symbol
"""


class Named(BaseModel):
    """One instrument, or a symbol of each exchange that lists it."""

    model_config = ConfigDict(extra="forbid")

    exchange: str | None = Field(
        None, description="exchange id; without it each that lists it", min_length=1, max_length=64
    )
    symbol: str = Field(description="in ccxt's spelling, `BTC/USDT`", min_length=1, max_length=64)


@router.get("", responses=listed(InstrumentRow))
async def instruments(request: Request, selection: Annotated[Formatted, Query()]) -> Response:
    """Every instrument that is or was watched, with the `as_of` of its newest predictions.

    `state`: `joining` (its history is on its way), `watched`, or `left`; `removed` tells of one
    that left by an order, and stays away though a setting names it.
    """
    state = state_of(request)
    async with reading(state) as connection:
        found = await connection.fetch(_EVER)
    seen = (one for one in found if caller_of(request).sees(_named(one)))
    told = ListAnswer(
        data=[_row(state, row) for row in seen], described=InstrumentRow, as_of=state.clock.now()
    )
    return await answer_list(request, selection.format, told)


@router.post(
    "",
    status_code=202,
    responses=answering(OrderRow, 200, 202)
    | refused("unknown_exchange", "unknown_symbol", "unreachable", "elsewhere"),
)
async def add(request: Request, named: Named) -> Response:
    """Watch one more: its history is fetched, its rows are made, then it is predicted.

    Answers at once with its `state`; `GET` tells how it goes on. Adding what is watched
    changes nothing.
    """
    state, members = state_of(request), _members(request)
    try:
        added = await members.add(named.exchange, named.symbol)
    except ExchangeError as error:
        raise ProblemError("unreachable", str(error), retry_after_ms=5_000) from error
    return _answer(state, added, 202 if members.under_way().keys() & set(added) else 200)


@router.delete("", responses=answering(OrderRow) | refused("elsewhere"))
async def remove(request: Request, named: Annotated[Named, Query()]) -> Response:
    """Watch it no more; its history stays, and its open signals are withdrawn at the last close."""
    state = state_of(request)
    removed = await _members(request).remove(named.exchange, named.symbol)
    return _answer(state, removed, 200)


def _members(request: Request) -> Members:
    state = state_of(request)
    if state.members is None:
        raise starting(state)
    return state.members


def _answer(state: ApiState, instruments: Sequence[Instrument], status: int) -> Response:
    told = [
        {"exchange": one.exchange, "symbol": one.symbol, "state": standing(state, one)}
        for one in instruments
    ]
    answer = envelope(told, as_of=state.clock.now())
    answer.status_code = status
    return answer


def _row(state: ApiState, row: asyncpg.Record) -> dict[str, Any]:
    instrument = _named(row)
    predicted = {
        timeframe.value: as_of
        for (one, timeframe), as_of in state.status.newest.items()
        if one == instrument
    }
    return {**rows.plain(row), "state": standing(state, instrument), "predicted": predicted}


def _named(row: asyncpg.Record) -> Instrument:
    return Instrument(row["exchange"], row["symbol"])
