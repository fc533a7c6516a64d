"""REST: what is watched, by exchange, by symbol and by timeframe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from backend.api.answers import answer_list, reading, state_of
from backend.api.callers import caller_of
from backend.api.described import listed
from backend.api.parameters import WatchSelection
from backend.api.schemas_watched import ExchangeRow, SymbolRow, TimeframeRow
from backend.api.spellings import ListAnswer
from backend.api.watched import Watched, exchanges, reach, read_watched, timeframes

router = APIRouter(prefix="/v1", tags=["instruments"])

Selected = Annotated[WatchSelection, Query()]


@router.get("/exchanges", responses=listed(ExchangeRow))
async def list_exchanges(request: Request, selection: Selected) -> Response:
    """Exchanges of which something is or was watched, and why nothing comes from one."""
    found = await _found(request, selection)
    rows = exchanges(state_of(request), caller_of(request), found)
    return await _answer(request, selection, rows, ExchangeRow, found)


@router.get("/symbols", responses=listed(SymbolRow))
async def list_symbols(request: Request, selection: Selected) -> Response:
    """Instruments that are or were watched, with the sizes of their exchange and their candles."""
    found = await _found(request, selection)
    return await _answer(request, selection, [one.row() for one in found], SymbolRow, found)


@router.get("/timeframes", responses=listed(TimeframeRow))
async def list_timeframes(request: Request, selection: Selected) -> Response:
    """Timeframes that are watched or of which there are candles, with the horizons predicted."""
    found = await _found(request, selection)
    rows = timeframes(state_of(request), found)
    return await _answer(request, selection, rows, TimeframeRow, found)


async def _found(request: Request, selection: WatchSelection) -> list[Watched]:
    state = state_of(request)
    async with reading(state) as connection:
        return await read_watched(connection, state, caller_of(request), selection)


async def _answer(
    request: Request,
    selection: WatchSelection,
    data: list[dict[str, Any]],
    described: type[BaseModel],
    found: Sequence[Watched],
) -> Response:
    as_of = state_of(request).clock.now()
    told = ListAnswer(data=data, described=described, as_of=as_of, watermark=reach(found))
    return await answer_list(request, selection.format, told)
