"""REST: models, their track record, and the dashboard's panels."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response

from backend.api import rows
from backend.api.answers import envelope, moment, reading, state_of
from backend.api.known import refuse_unmatched
from backend.api.parameters import DashboardSelection, ModelSelection, ScoreSelection
from backend.api.reads import instrument_ids
from backend.api.schemas import ScoreRow, answering
from backend.api.shelves import Filters
from backend.store.registry import role_of
from backend.store.score_days import Scope
from backend.store.track_record import read_record
from domain.events import Role

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models")
async def models(request: Request, selection: Annotated[ModelSelection, Query()]) -> Response:
    """Fitted models, newest first, with the role that they have now.

    `member` (has a part in what is served), `challenger` (on trial), `previous` (what a rollback
    goes back to), or null.
    """
    state = state_of(request)
    asked: Filters = {"horizon": list(selection.horizon), "model": selection.model}
    async with reading(state) as connection:
        await refuse_unmatched(connection, state, asked)
        found = await connection.fetch(
            _MODELS, selection.exchange or None, selection.timeframe or None,
            list(selection.horizon) or None, selection.model or None, selection.target or None,
            selection.as_of, selection.limit,
        )  # fmt: skip
    data = [
        {**rows.json_columns(row, "params", "metrics", "environment"), "role": role_of(row["role"])}
        for row in found
    ]
    return envelope(data, as_of=moment(state, selection.as_of))


@router.get("/scores", responses=answering(ScoreRow))
async def scores(request: Request, selection: Annotated[ScoreSelection, Query()]) -> Response:
    """The track record of every forecaster that was scored; all roles unless one is named."""
    state = state_of(request)
    scope = Scope(
        exchanges=selection.exchange,
        timeframes=selection.timeframe,
        horizons=selection.horizon,
        roles=selection.role,
        models=selection.model,
        symbols=selection.wanted_symbols,
        start=selection.start,
        end=selection.end,
        scored_by=selection.as_of,
    )
    async with reading(state) as connection:
        await instrument_ids(connection, selection.exchange, selection.wanted_symbols)
        asked: Filters = {"horizon": list(selection.horizon), "model": selection.model}
        await refuse_unmatched(connection, state, asked)
        record = await read_record(connection, scope)
        verdicts = await connection.fetch(_VERDICTS, selection.as_of)
    newest = {(v["exchange"], v["timeframe"], v["horizon"], v["target"]): v for v in verdicts}
    for row in record:
        verdict = newest.get((row["exchange"], row["timeframe"], row["horizon"], row["target"]))
        row["gate"] = dict(verdict) if verdict and row["role"] == Role.CHAMPION else None
    return envelope(
        record,
        as_of=moment(state, selection.as_of),
        watermark=max((row["last_as_of"] for row in record), default=None),
    )


@router.get("/dashboard")
async def dashboard(
    request: Request, selection: Annotated[DashboardSelection, Query()]
) -> Response:
    """The panels as they were last computed, each with its version."""
    state = state_of(request)
    async with reading(state) as connection:
        found = await connection.fetch(
            "SELECT panel, scope, as_of, version, payload FROM dashboard_data"
            " WHERE $1::text[] IS NULL OR panel = ANY($1) ORDER BY panel, scope",
            selection.panel or None,
        )
    data = [{**row, "payload": orjson.Fragment(row["payload"])} for row in found]
    return envelope(
        data,
        as_of=state.clock.now(),
        watermark=min((row["as_of"] for row in found), default=None),
        revision=max((row["version"] for row in found), default=None),
    )


_MODELS = """
    SELECT m.exchange, m.timeframe, m.horizon, m.target, m.name AS model, m.version, m.kind,
           m.status, m.feature_set, m.label_set, m.trained_from, m.trained_until,
           m.effective_from, m.n_train, m.n_effective, m.n_trials, m.params, m.seed, m.metrics,
           m.environment, m.code_sha, m.data_sha256, m.artifact_sha256, m.artifact_bytes,
           m.train_seconds, m.parent_version, m.created_at,
           coalesce(a.aliases, '{}') AS role
    FROM ml_models_metadata m
    LEFT JOIN LATERAL (
        SELECT array_agg(alias ORDER BY alias) AS aliases FROM model_aliases a
        WHERE a.exchange = m.exchange AND a.timeframe = m.timeframe AND a.horizon = m.horizon
          AND a.target = m.target AND a.name = m.name AND a.version = m.version
    ) a ON true
    WHERE ($1::text[] IS NULL OR m.exchange = ANY($1))
      AND ($2::text[] IS NULL OR m.timeframe = ANY($2))
      AND ($3::int[] IS NULL OR m.horizon = ANY($3))
      AND ($4::text[] IS NULL OR m.name = ANY($4))
      AND ($5::text[] IS NULL OR m.target = ANY($5))
      AND ($6::timestamptz IS NULL OR m.created_at <= $6)
    ORDER BY m.model_id DESC LIMIT $7
    """

# The newest verdict of the gate, by the primary key of `skill_verdicts`.
_VERDICTS = """
    SELECT DISTINCT ON (exchange, timeframe, horizon, target)
           exchange, timeframe, horizon, target, at, baseline, skill, low, high, blocks, count,
           no_skill
    FROM skill_verdicts WHERE $1::timestamptz IS NULL OR at <= $1
    ORDER BY exchange, timeframe, horizon, target, at DESC
    """
