"""REST: predictions, signals, and what a paper account makes of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from backend.api import schemas
from backend.api.answers import (
    answer_list,
    answer_page,
    envelope,
    list_page,
    moment,
    reading,
    starting,
    state_of,
)
from backend.api.callers import caller_of
from backend.api.described import answering, listed, queried
from backend.api.explanations import SHAPE, PredictionId, explain, read_spoken, unspoken
from backend.api.known import refuse_unmatched
from backend.api.latest import list_latest
from backend.api.parameters import (
    LatestSelection,
    LedgerSelection,
    NextPage,
    PredictionQuery,
    PredictionSelection,
    SignalSelection,
)
from backend.api.prediction_record import read_prediction
from backend.api.problems import ProblemError
from backend.api.queries import sort_out
from backend.api.reads import instrument_ids, known_instruments
from backend.api.refusals import refused
from backend.api.schemas_prediction import PredictionRecord
from backend.api.shelves import PREDICTIONS, SIGNALS, Filters
from backend.api.spellings import ListAnswer
from backend.api.visible import whole_exchanges
from backend.store.accounts import read_accounts
from domain.market import Instrument

router = APIRouter(prefix="/v1", tags=["predictions"])


@router.get("/predictions", responses=listed(schemas.PredictionRow))
async def predictions(
    request: Request, selection: Annotated[PredictionSelection, Query()]
) -> Response:
    """Predictions; the served rows, unless `role` asks for members or challengers."""
    return await answer_page(request, PREDICTIONS, selection, _filters(selection))


def _filters(selection: PredictionSelection | PredictionQuery) -> Filters:
    filters: Filters = {"role": selection.role}
    if selection.horizon:
        filters["horizon"] = list(selection.horizon)
    if selection.model:
        filters["model"] = selection.model
    return filters


@router.get(
    "/predictions/latest",
    responses=listed(schemas.PredictionRow) | refused("answer_too_large"),
)
async def latest(request: Request, selection: Annotated[LatestSelection, Query()]) -> Response:
    """The newest row of each (instrument, timeframe, horizon), and model, in one answer."""
    state, caller = state_of(request), caller_of(request)
    async with reading(state) as connection:
        symbols = selection.wanted_symbols
        ids = await instrument_ids(connection, caller, selection.exchange, symbols)
        told = await list_latest(connection, state, ids, selection)
    return await answer_list(request, selection.format, told)


@router.post(
    "/predictions/query",
    responses=queried(schemas.PredictionRow)
    | refused("answer_too_large", "bad_cursor", "not_acceptable", "unknown_timeframe"),
)
async def query(
    request: Request, asked: PredictionQuery, following: Annotated[NextPage, Query()]
) -> Response:
    """Predictions of many instruments at once, by names in the body.

    What is not known is named in `rejected` (CSV and Arrow: counted in `AlphaPulse-Rejected`), and
    the others are answered. The next page is the same body with its `cursor`, or sent to `Link`.
    """
    if following.cursor and (asked.latest or asked.cursor):
        raise ProblemError("bad_request", "a cursor goes once, in the body or the address")
    state, asked = state_of(request), following.of(asked)
    async with reading(state) as connection:
        known = await known_instruments(connection, caller_of(request))
        chosen = await asyncio.to_thread(sort_out, asked.instruments, known)
        if asked.latest:
            told = await list_latest(connection, state, chosen.ids, asked)
        else:
            filters = _filters(asked)
            await refuse_unmatched(connection, state, filters)
            told = await list_page(connection, state, chosen.ids, PREDICTIONS, asked, filters)
    return await answer_list(request, asked.format, replace(told, rejected=chosen.rejected))


Id = Annotated[
    str,
    Path(
        alias="id",
        description=f"`{SHAPE}` as its row spells them, the symbol with its `/`",
        max_length=256,
    ),
]


@router.get(
    "/predictions/{id:path}/explanation",
    responses=answering(schemas.ExplanationRow)
    | refused("not_found", "artifact_missing", "not_as_it_was"),
)
async def explanation(request: Request, prediction: Id) -> Response:
    """What each feature added to the raw scores of the members of a served prediction.

    The versions that spoke are asked about the stored row that they read. `base` and the
    contributions add up to the `margin` within 1e-4. A member that has no contributions says why.
    A model's file that is gone is a 404, one that is not what it was a 409. What the weights
    were is not recorded.
    """
    state = state_of(request)
    wanted = PredictionId.parse(prediction)
    if not caller_of(request).sees(Instrument(wanted.exchange, wanted.symbol)):
        raise unspoken(wanted)
    async with reading(state) as connection:
        spoken = await read_spoken(connection, wanted)
    if state.artifacts is None:
        raise starting(state)
    async with state.explaining:
        data = await asyncio.to_thread(explain, spoken, state.artifacts)
    return await asyncio.to_thread(
        envelope, data, as_of=state.clock.now(), watermark=wanted.as_of, revision=wanted.revision
    )


@router.get("/predictions/{id:path}", responses=answering(PredictionRecord) | refused("not_found"))
async def prediction_record(request: Request, prediction: Id) -> Response:
    """A served prediction with its event in the stream, its label and its score.

    The label is as it stood when it was first known, which is what the track record counts.
    """
    state = state_of(request)
    wanted = PredictionId.parse(prediction)
    if not caller_of(request).sees(Instrument(wanted.exchange, wanted.symbol)):
        raise unspoken(wanted)
    async with reading(state) as connection:
        found = await read_prediction(connection, wanted)
    return envelope(
        [found], as_of=state.clock.now(), watermark=wanted.as_of, revision=wanted.revision
    )


@router.get("/signals", responses=listed(schemas.SignalRow))
async def signals(request: Request, selection: Annotated[SignalSelection, Query()]) -> Response:
    """Signals; a flat one names the gate that made it so."""
    if selection.status and selection.as_of:
        raise ProblemError("bad_request", "status is of today; leave it out together with as_of")
    filters: Filters = {}
    for name in ("horizon", "model", "side", "status"):
        if accepted := getattr(selection, name):
            filters[name] = list(accepted)
    return await answer_page(request, SIGNALS, selection, filters)


@router.get("/ledger", responses=listed(schemas.AccountRow))
async def accounts(request: Request, selection: Annotated[LedgerSelection, Query()]) -> Response:
    """The paper account of each exchange and timeframe, beside holding everything and nothing.

    It is of all instruments of its exchange: who does not see them all does not see it.
    """
    state = state_of(request)
    async with reading(state) as connection:
        caller = caller_of(request)
        await instrument_ids(connection, caller, selection.exchange)
        found = await read_accounts(
            connection,
            selection.as_of,
            exchanges=selection.exchange,
            timeframes=selection.timeframe,
        )
        seen = await whole_exchanges(connection, caller)
    found = [row for row in found if row["exchange"] in seen]
    told = ListAnswer(
        data=found,
        described=schemas.AccountRow,
        as_of=moment(state, selection.as_of),
        watermark=min((row["as_of"] for row in found), default=None),
    )
    return await answer_list(request, selection.format, told)
