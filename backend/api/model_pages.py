"""Pages of the registry: fitted models with where they came from and the role they have now."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from backend.api import cursors, rows, schemas
from backend.api.callers import Caller
from backend.api.parameters import ModelSelection
from backend.api.shelves import Shelf
from backend.api.visible import whole_exchanges
from backend.store.registry import role_of
from domain.market import from_ms

MODELS: Final = Shelf(
    table="ml_models_metadata",
    history="ml_models_metadata",
    series=("exchange", "timeframe", "horizon", "name"),
    time="created_at",
    key=("model_id",),
    known="t.created_at",
    newest="t.created_at DESC",
    columns="t.exchange, t.timeframe, t.horizon, t.target, t.name AS model, t.version, t.kind,"
    " t.status, t.feature_set, t.label_set, t.trained_from, t.trained_until, t.effective_from,"
    " t.n_train, t.n_effective, t.n_trials, t.params, t.seed, t.metrics, t.environment,"
    " t.code_sha, t.data_sha256, t.artifact_sha256, t.artifact_bytes, t.train_seconds,"
    " t.parent_version, t.created_at",
    described=schemas.ModelRow,
    spell=lambda row, _at: _spelled(row),
)


async def read_models(
    connection: asyncpg.Connection, caller: Caller, selection: ModelSelection
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of models and the mark of the next; a start, an end are of `created_at`."""
    made_for = cursors.fingerprint(MODELS, selection, {})
    after = cursors.decode(selection.cursor, made_for, MODELS) if selection.cursor else None
    place = (from_ms(after[0]), after[1]) if after else (None, None)
    exchanges = selection.exchange or None
    if not caller.sees_all:
        whole = await whole_exchanges(connection, caller)
        exchanges = sorted(whole.intersection(exchanges) if exchanges else whole)
    found = await connection.fetch(
        _page(ascending=selection.ascending),
        exchanges, selection.timeframe or None, list(selection.horizon) or None,
        selection.model or None, selection.target or None, selection.as_of, selection.start,
        selection.end, *place, selection.limit + 1,
    )  # fmt: skip
    kept = found[: selection.limit]
    mark = None
    if len(found) > selection.limit:
        mark = cursors.encode([kept[-1]["created_at"], kept[-1]["model_id"]], made_for)
    return [MODELS.spell(row, selection.as_of) for row in kept], mark


def _spelled(row: rows.Row) -> dict[str, Any]:
    spelt = rows.json_columns(row, "params", "metrics", "environment")
    del spelt["model_id"]
    return {**spelt, "role": role_of(row["role"])}


def _page(*, ascending: bool) -> str:
    direction, beyond = ("ASC", ">") if ascending else ("DESC", "<")
    # Cursors tell milliseconds.
    keys = ("date_trunc('milliseconds', t.created_at)", "t.model_id")
    return f"""
    SELECT {MODELS.columns}, t.model_id, coalesce(a.aliases, '{{}}') AS role
    FROM ml_models_metadata t
    LEFT JOIN LATERAL (
        SELECT array_agg(alias ORDER BY alias) AS aliases FROM model_aliases a
        WHERE a.exchange = t.exchange AND a.timeframe = t.timeframe AND a.horizon = t.horizon
          AND a.target = t.target AND a.name = t.name AND a.version = t.version
    ) a ON true
    WHERE ($1::text[] IS NULL OR t.exchange = ANY($1))
      AND ($2::text[] IS NULL OR t.timeframe = ANY($2))
      AND ($3::int[] IS NULL OR t.horizon = ANY($3))
      AND ($4::text[] IS NULL OR t.name = ANY($4))
      AND ($5::text[] IS NULL OR t.target = ANY($5))
      AND ($6::timestamptz IS NULL OR t.created_at <= $6)
      AND ($7::timestamptz IS NULL OR t.created_at >= $7)
      AND ($8::timestamptz IS NULL OR t.created_at < $8)
      AND ($9::timestamptz IS NULL OR ({", ".join(keys)}) {beyond} ($9, $10::bigint))
    ORDER BY {", ".join(f"{key} {direction}" for key in keys)} LIMIT $11
    """  # noqa: S608 - names are ours, values are parameters
