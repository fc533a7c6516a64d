"""A filter that no row can match is a mistake, and not answered with an empty list."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final

import asyncpg

from backend.api.problems import ProblemError
from backend.api.reads import series_scan
from backend.api.shelves import PREDICTIONS, Filters
from backend.api.state import ApiState
from domain.errors import nearest, shortened
from domain.losses import BASELINE_NAMES, BASELINES

# Who says something whatever is fitted: what is served, baselines and pools.
ALWAYS: Final = BASELINE_NAMES.union(("served",), (f"pool.{target}" for target in BASELINES))


async def refuse_unmatched(connection: asyncpg.Connection, state: ApiState, asked: Filters) -> None:
    """See that each horizon, model and feature set that is asked for is one, or once was.

    Raises:
        ProblemError: `bad_request`.
    """
    horizons = {*state.status.horizons}
    if set(asked.get("horizon", ())) - horizons:
        scan, _ = series_scan(PREDICTIONS, {})
        found = await connection.fetch(
            f"{scan} SELECT DISTINCT horizon FROM wanted_series"  # noqa: S608 - names are ours
        )
        _refuse("horizon", asked, horizons.union(row["horizon"] for row in found))
    models = ALWAYS.union(state.models)
    if set(asked.get("model", ())) - models:
        found = await connection.fetch("SELECT DISTINCT name FROM ml_models_metadata")
        _refuse("model", asked, models.union(row["name"] for row in found))
    if "feature_set" in asked:
        found = await connection.fetch("SELECT feature_set FROM feature_sets")
        _refuse("feature_set", asked, {row["feature_set"] for row in found})


def _refuse(parameter: str, asked: Filters, known: AbstractSet[Any]) -> None:
    if strange := set(asked[parameter]) - known:
        name, names = str(min(strange)), [str(one) for one in sorted(known)]
        near = nearest(name, names)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(names)}"
        detail = f"unknown {parameter} {shortened(name)!r}; {hint}"
        errors = [{"parameter": parameter, "detail": detail}]
        raise ProblemError("bad_request", f"{parameter}: {detail}", errors=errors)
