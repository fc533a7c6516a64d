"""REST: candles, features, gaps, and what the system says of itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.api import schemas
from backend.api.answers import answer_list, answer_page, envelope, moment, reading, state_of
from backend.api.callers import caller_of
from backend.api.described import answering, listed
from backend.api.gap_pages import GAPS, read_gaps
from backend.api.measurement_pages import MEASUREMENTS, read_measurements
from backend.api.parameters import (
    FeatureSelection,
    GapSelection,
    MeasurementSelection,
    Selection,
    TextSelection,
)
from backend.api.schemas_system import StatusRow
from backend.api.shelves import CANDLES, FEATURES, Filters
from backend.api.spellings import ListAnswer
from backend.api.text_pages import TEXTS, read_states, read_texts
from domain.sources import Metric, tells

router = APIRouter(prefix="/v1", tags=["market"])


@router.get("/candles", responses=listed(schemas.CandleRow))
async def candles(request: Request, selection: Annotated[Selection, Query()]) -> Response:
    """Closed candles; a candle is named by its open time."""
    return await answer_page(request, CANDLES, selection, {})


@router.get("/features", responses=listed(schemas.FeatureRow))
async def features(request: Request, selection: Annotated[FeatureSelection, Query()]) -> Response:
    """Feature rows; null is a value that was not known yet."""
    filters: Filters = {"feature_set": selection.feature_set} if selection.feature_set else {}
    return await answer_page(request, FEATURES, selection, filters)


@router.get("/sentiment", responses=listed(schemas.TextRow))
async def sentiment(request: Request, selection: Annotated[TextSelection, Query()]) -> Response:
    """Texts with what they score; `coverage` says how each source was doing."""
    state = state_of(request)
    # A text's time is when it was known: those of a range are what was known at its end.
    at = moment(state, selection.as_of or selection.end)
    async with reading(state) as connection:
        found, following = await read_texts(connection, selection)
        sources = await read_states(connection, at)
    told = ListAnswer(
        data=found,
        described=TEXTS.described,
        as_of=at,
        coverage={"sources": sources},
        following=following,
    )
    return await answer_list(request, selection.format, told)


@router.get("/measurements", responses=listed(schemas.MeasurementRow))
async def measurements(
    request: Request, selection: Annotated[MeasurementSelection, Query()]
) -> Response:
    """Funding, open interest and what else sources measure; `coverage` says how each was doing."""
    state = state_of(request)
    at = moment(state, selection.as_of)
    async with reading(state) as connection:
        page = await read_measurements(connection, caller_of(request), selection)
        sources = await read_states(connection, at)
    told = ListAnswer(
        data=page.data,
        described=MEASUREMENTS.described,
        as_of=at,
        watermark=page.watermark,
        coverage={"sources": [one for one in sources if isinstance(tells(one["source"]), Metric)]},
        following=page.following,
    )
    return await answer_list(request, selection.format, told)


@router.get("/gaps", responses=listed(schemas.GapRow))
async def gaps(request: Request, selection: Annotated[GapSelection, Query()]) -> Response:
    """Stretches of missing candles, newest first, and what became of them."""
    state = state_of(request)
    async with reading(state) as connection:
        page = await read_gaps(connection, caller_of(request), selection)
    told = ListAnswer(
        data=page.data,
        described=GAPS.described,
        as_of=moment(state, selection.as_of),
        watermark=page.watermark,
        following=page.following,
    )
    return await answer_list(request, selection.format, told)


@router.get("/status", responses=answering(StatusRow))
async def status(request: Request) -> Response:
    """What is watched, what still loads, how fresh it is; answers from the first moment."""
    state = state_of(request)
    now = state.clock.now()
    row = {
        **state.status.public(now, caller_of(request)),
        "store": state.reader is not None,
        "settings": dict(state.settings),
    }
    return envelope([row], as_of=now)
