"""The newest prediction of each series, and model, in one answer."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from backend.api.answers import moment
from backend.api.coverage import read_coverage
from backend.api.known import refuse_unmatched
from backend.api.parameters import LatestSelection, PredictionQuery
from backend.api.problems import ProblemError
from backend.api.reads import read_spans, series_scan
from backend.api.shelves import PREDICTIONS, Filters
from backend.api.spellings import ListAnswer
from backend.api.state import ApiState

LATEST_LIMIT = 10_000


async def list_latest(
    connection: asyncpg.Connection,
    state: ApiState,
    ids: Sequence[int],
    selection: LatestSelection | PredictionQuery,
) -> ListAnswer:
    """The newest rows of the instruments with these numbers.

    Raises:
        ProblemError: `answer_too_large`; a horizon or a model that never was.
    """
    wanted: Filters = {"instrument_id": list(ids)}
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
    if len(found) > LATEST_LIMIT:
        raise ProblemError(
            "answer_too_large", f"more than {LATEST_LIMIT} rows; name symbols or a timeframe"
        )
    times = [row["as_of"] for row in found]
    spans = await read_spans(connection, PREDICTIONS, wanted, selection.as_of)
    return ListAnswer(
        data=[PREDICTIONS.spell(row, selection.as_of) for row in found],
        described=PREDICTIONS.described,
        as_of=moment(state, selection.as_of),
        watermark=min(times, default=None),
        coverage=await read_coverage(connection, spans, times, selection.as_of),
        revision=max((row["revision"] for row in found), default=None),
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
