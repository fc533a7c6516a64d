"""REST: what is watched, and orders to watch more or less of it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from backend.api import rows
from backend.api.answers import answer_list, reading, state_of
from backend.api.callers import caller_of
from backend.api.described import answering, listed
from backend.api.ordering import REFUSALS, Key, answer, ask
from backend.api.parameters import Formatted
from backend.api.refusals import refused
from backend.api.schemas import InstrumentRow, OrderRow
from backend.api.spellings import ListAnswer
from backend.api.state import ApiState
from backend.api.watched import standing
from backend.store.instruments import IN_SQL
from backend.store.system_status import exchange_of
from domain.market import Instrument

router = APIRouter(prefix="/v1/instruments", tags=["instruments"])

_EVER: Final = f"""
SELECT exchange, symbol, kind, base, quote, tick_size, lot_size, min_notional, watched_from,
       watched_until,
       nullif(joined_at, {IN_SQL}) AS joined_at, added, removed
FROM instruments WHERE watched_from IS NOT NULL ORDER BY exchange, symbol
"""  # noqa: S608 - a moment of ours


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
    that left by an order, and stays away though a setting names it. One that has left and is
    `added` could not join, and is tried again at the next start.
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
    | refused("unknown_exchange", "unknown_symbol", "unreachable", *REFUSALS),
)
async def add(request: Request, named: Named, key: Key = None) -> Response:
    """Watch one more: its history is fetched, its rows are made, then it is predicted.

    Answers with its `state` as soon as it is entered; `GET` tells how it goes on. Adding what is
    watched changes nothing.
    """
    return await _ordered(request, "add", named, key)


@router.delete("", responses=answering(OrderRow, 200, 202) | refused(*REFUSALS))
async def remove(request: Request, named: Annotated[Named, Query()], key: Key = None) -> Response:
    """Watch it no more; its history stays, and its open signals are withdrawn at the last close.

    One that is joining leaves when it has. Orders about instruments of an exchange are done as they
    were entered.
    """
    return await _ordered(request, "remove", named, key)


async def _ordered(request: Request, kind: str, named: Named, key: str | None) -> Response:
    wanted = named.model_dump(exclude_none=True)
    ordered = await ask(request, kind, wanted, key, waits=True)
    told = [row for part in ordered.parts for row in part.result or ()]
    told += [
        {"exchange": exchange_of(part.owner), "symbol": named.symbol, "state": "ordered"}
        for part in ordered.parts
        if not part.ended
    ]
    later = any(row["state"] in {"joining", "ordered"} for row in told)
    return answer(request, ordered, told, 202 if later else 200)


def _row(state: ApiState, row: asyncpg.Record) -> dict[str, Any]:
    instrument = _named(row)
    predicted = {
        timeframe.value: as_of
        for (one, timeframe), as_of in state.status.newest.items()
        if one == instrument
    }
    return {
        **rows.plain(row),
        "state": standing(state, instrument, row["watched_until"]),
        "predicted": predicted,
    }


def _named(row: asyncpg.Record) -> Instrument:
    return Instrument(row["exchange"], row["symbol"])
