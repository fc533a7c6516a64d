"""REST: predictions, signals, and what a paper account makes of them."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from backend.api import schemas
from backend.api.answers import (
    answer_list,
    answer_page,
    envelope,
    moment,
    reading,
    starting,
    state_of,
)
from backend.api.callers import caller_of
from backend.api.coverage import read_coverage
from backend.api.described import answering, listed
from backend.api.explanations import SHAPE, PredictionId, explain, read_spoken, unspoken
from backend.api.known import refuse_unmatched
from backend.api.parameters import (
    LatestSelection,
    LedgerSelection,
    PredictionSelection,
    SignalSelection,
)
from backend.api.problems import ProblemError
from backend.api.reads import instrument_ids, read_spans, series_scan
from backend.api.shelves import PREDICTIONS, SIGNALS, Filters
from backend.api.spellings import ListAnswer
from backend.api.visible import whole_exchanges
from backend.store.accounts import read_accounts
from domain.market import Instrument

router = APIRouter(prefix="/v1", tags=["predictions"])
LATEST_LIMIT = 10_000


@router.get("/predictions", responses=listed(schemas.PredictionRow))
async def predictions(
    request: Request, selection: Annotated[PredictionSelection, Query()]
) -> Response:
    """Predictions; the served rows, unless `role` asks for members or challengers."""
    filters: Filters = {"role": selection.role}
    if selection.horizon:
        filters["horizon"] = list(selection.horizon)
    if selection.model:
        filters["model"] = selection.model
    return await answer_page(request, PREDICTIONS, selection, filters)


@router.get("/predictions/latest", responses=listed(schemas.PredictionRow))
async def latest(request: Request, selection: Annotated[LatestSelection, Query()]) -> Response:
    """The newest row of each (instrument, timeframe, horizon), and model, in one answer."""
    state = state_of(request)
    async with reading(state) as connection:
        wanted: Filters = {
            "instrument_id": await instrument_ids(
                connection, caller_of(request), selection.exchange, selection.wanted_symbols
            )
        }
        if selection.timeframe:
            wanted["timeframe"] = selection.timeframe
        if selection.horizon:
            wanted["horizon"] = list(selection.horizon)
        asked: Filters = {"horizon": list(selection.horizon), "model": selection.model}
        await refuse_unmatched(connection, state, asked)
        scan, values = series_scan(PREDICTIONS, wanted)
        first = len(values) + 1
        found = await connection.fetch(
            scan + _latest(first),
            *values, selection.role, selection.model or None, selection.as_of,
        )  # fmt: skip
        times = [row["as_of"] for row in found]
        spans = await read_spans(connection, PREDICTIONS, wanted, selection.as_of)
        coverage = await read_coverage(connection, spans, times, selection.as_of)
    if len(found) > LATEST_LIMIT:
        raise ProblemError(
            "answer_too_large", f"more than {LATEST_LIMIT} rows; name symbols or a timeframe"
        )
    told = ListAnswer(
        data=[PREDICTIONS.spell(row, selection.as_of) for row in found],
        described=PREDICTIONS.described,
        as_of=moment(state, selection.as_of),
        watermark=min(times, default=None),
        coverage=coverage,
        revision=max((row["revision"] for row in found), default=None),
    )
    return await answer_list(request, selection.format, told)


@router.get(
    "/predictions/{id:path}/explanation",
    responses=answering(schemas.ExplanationRow, example=schemas.EXPLANATION),
)
async def explanation(
    request: Request,
    prediction: Annotated[
        str,
        Path(
            alias="id",
            description=f"`{SHAPE}` as its row spells them, the symbol with its `/`",
            examples=["1h.4.simulated.2024-01-01T00:00:00.000Z.1.BTC/USDT"],
            max_length=256,
        ),
    ],
) -> Response:
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


@router.get("/ledger", responses=answering(schemas.AccountRow))
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
    return envelope(
        found,
        as_of=moment(state, selection.as_of),
        watermark=min((row["as_of"] for row in found), default=None),
    )


def _latest(first: int) -> str:
    accepted = f"""{PREDICTIONS.same_series} AND t.role = ANY(${first}::text[])
        AND (${first + 1}::text[] IS NULL OR t.model = ANY(${first + 1}))
        AND (${first + 2}::timestamptz IS NULL OR {PREDICTIONS.known} <= ${first + 2})"""
    return f"""
    SELECT {PREDICTIONS.columns}
    FROM wanted_series s
    CROSS JOIN LATERAL (
        SELECT t.as_of FROM ml_predictions t WHERE {accepted} ORDER BY t.as_of DESC LIMIT 1
    ) newest
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (t.role, t.model) t.* FROM ml_predictions t
        WHERE {accepted} AND t.as_of = newest.as_of ORDER BY t.role, t.model, t.revision DESC
    ) t
    JOIN instruments i ON i.instrument_id = t.instrument_id
    ORDER BY i.exchange, i.symbol, t.timeframe, t.horizon, t.role, t.model
    LIMIT {LATEST_LIMIT + 1}
    """  # noqa: S608 - names are ours, values are parameters
