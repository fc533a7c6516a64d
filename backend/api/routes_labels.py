"""REST: what is said of class labels."""

from __future__ import annotations

from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Path, Query, Request, Response

from backend.api import rows, schemas
from backend.api.answers import answer_list, moment, reading, state_of
from backend.api.callers import caller_of
from backend.api.coverage import read_coverage
from backend.api.described import listed
from backend.api.parameters import LabelSelection
from backend.api.problems import ProblemError
from backend.api.reads import instrument_ids, read_spans, series_scan
from backend.api.refusals import refused
from backend.api.shelves import Filters, Shelf
from backend.api.spellings import ListAnswer
from domain.errors import shortened

router = APIRouter(prefix="/v1", tags=["predictions"])

CLASS_PREDICTIONS: Final = Shelf(
    table="ml_class_predictions",
    history="ml_class_predictions",
    series=("instrument_id", "timeframe", "label_kind", "horizon"),
    time="as_of",
    key=("instrument_id", "timeframe", "label_kind", "horizon", "model"),
    known="t.made_at",
    newest="t.revision DESC",
    columns="i.exchange, i.symbol, t.timeframe, t.label_kind, t.horizon, t.as_of, t.revision,"
    " t.made_at, t.origin, t.model, t.version, t.probabilities, t.degraded",
    described=schemas.ClassPredictionRow,
    spell=lambda row, _at: _spelled(row),
)


@router.get("/labels/{kind}", responses=listed(schemas.ClassPredictionRow) | refused("not_found"))
async def labels(
    request: Request,
    kind: Annotated[
        str,
        Path(
            description="a kind of class label, as `training.labels` names it, or its version",
            max_length=128,
        ),
    ],
    selection: Annotated[LabelSelection, Query()],
) -> Response:
    """The newest served prediction of a kind of label, of each (instrument, timeframe, horizon).

    The class prior's, as `degraded` says by `no_skill`, until a model has beaten it.
    """
    state = state_of(request)
    async with reading(state) as connection:
        wanted: Filters = {
            "instrument_id": await instrument_ids(
                connection, caller_of(request), selection.exchange, selection.wanted_symbols
            ),
            "label_kind": [await _kind(connection, kind)],
        }
        if selection.timeframe:
            wanted["timeframe"] = selection.timeframe
        if selection.horizon:
            wanted["horizon"] = list(selection.horizon)
        scan, values = series_scan(CLASS_PREDICTIONS, wanted)
        query = scan + _newest(f"${len(values) + 1}")
        found = await connection.fetch(query, *values, selection.as_of)
        times = [row["as_of"] for row in found]
        spans = await read_spans(connection, CLASS_PREDICTIONS, wanted, selection.as_of)
        coverage = await read_coverage(connection, spans, times, selection.as_of)
    told = ListAnswer(
        data=[CLASS_PREDICTIONS.spell(row, selection.as_of) for row in found],
        described=CLASS_PREDICTIONS.described,
        as_of=moment(state, selection.as_of),
        watermark=min(times, default=None),
        coverage=coverage,
        revision=max((row["revision"] for row in found), default=None),
    )
    return await answer_list(request, selection.format, told)


async def _kind(connection: asyncpg.Connection, name: str) -> str:
    """The newest version of a kind, or the one that is named.

    Raises:
        ProblemError: `not_found`; nothing was ever said of it.
    """
    scan, _ = series_scan(CLASS_PREDICTIONS, {})
    told = await connection.fetch(f"{scan} SELECT DISTINCT label_kind FROM wanted_series")  # noqa: S608 - names are ours
    known: list[str] = [row["label_kind"] for row in told]
    ours = [one for one in known if name in {one, one.partition("@")[0]}]
    if not ours:
        hint = f"known: {', '.join(sorted(known))}; " if known else ""
        words = f"nothing is said of a label {shortened(name)!r} yet; {hint}"
        raise ProblemError("not_found", f"{words}`training.labels` names them")
    return max(ours, key=lambda one: int(one.partition("@")[2]))


def _newest(as_of: str) -> str:
    accepted = f"""{CLASS_PREDICTIONS.same_series} AND t.served
        AND ({as_of}::timestamptz IS NULL OR {CLASS_PREDICTIONS.known} <= {as_of})"""
    return f"""
    SELECT {CLASS_PREDICTIONS.columns}
    FROM wanted_series s
    CROSS JOIN LATERAL (
        SELECT t.* FROM ml_class_predictions t WHERE {accepted}
        ORDER BY t.as_of DESC, t.revision DESC LIMIT 1
    ) t
    JOIN instruments i ON i.instrument_id = t.instrument_id
    ORDER BY i.exchange, i.symbol, t.timeframe, t.horizon
    """  # noqa: S608 - names are ours, values are parameters


def _spelled(row: rows.Row) -> dict[str, Any]:
    spelt = rows.json_columns(row, "probabilities")
    codes = spelt["degraded"]
    return {**spelt, "degraded": codes.split(",") if codes else []}
