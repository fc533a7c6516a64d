"""Feature sets enter the record, each with a view that names its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import asyncpg
import orjson

from backend.store.database import quoted
from domain.errors import StoreError
from domain.events import FeatureSet

# name → the table of its rows, and the columns beside its values
_TABLES: Final[Mapping[str, tuple[str, str]]] = {
    "ohlcv": ("ml_features_ohlcv", "candle_revision, coverage"),
    "sentiment": ("ml_features_sentiment", "source_status"),
}


def view_name(feature_set: FeatureSet) -> str:
    """The view for analysts; `ohlcv@1` is `ml_features_ohlcv_1`."""
    return f"ml_features_{feature_set.name}_{feature_set.version}"


async def register_feature_set(
    pool: asyncpg.Pool,
    feature_set: FeatureSet,
    *,
    spec: Mapping[str, object],
    code_sha: str,
    fixed: bool = False,
) -> None:
    """Enter a feature set, and the view of one that has rows; nothing happens when it is there.

    Args:
        pool: where to write.
        feature_set: its columns never change under one version.
        spec: how the columns are made, as data.
        code_sha: of the code that makes them.
        fixed: whether `spec` never changes under one version either.

    Raises:
        StoreError: the same version was registered with other columns, or another fixed spec.
    """
    columns, model_columns = list(feature_set.columns), list(feature_set.model_columns)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO feature_sets (feature_set, columns, model_columns, spec, code_sha,"
            " warmup_bars) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (feature_set) DO NOTHING",
            feature_set.id,
            columns,
            model_columns,
            orjson.dumps(spec).decode(),
            code_sha,
            feature_set.warmup_bars,
        )
        stored = await connection.fetchrow(
            "SELECT columns, model_columns, spec FROM feature_sets WHERE feature_set = $1",
            feature_set.id,
        )
        if [*stored][:2] != [columns, model_columns]:
            raise StoreError(f"{feature_set.id} is registered with other columns")
        if fixed and orjson.loads(stored["spec"]) != spec:
            raise StoreError(
                f"{feature_set.id} is registered with other formulas: raise its version"
            )
        if feature_set.name in _TABLES:
            await connection.execute(_view(feature_set))


def _view(feature_set: FeatureSet) -> str:
    table, columns = _TABLES[feature_set.name]
    named = ",\n    ".join(
        f'"values"[{place}] AS {quoted(column)}'
        for place, column in enumerate(feature_set.columns, start=1)
    )
    return f"""CREATE OR REPLACE VIEW {quoted(view_name(feature_set))} AS
SELECT exchange, symbol, timeframe, as_of, revision, known_at, {columns},
    {named}
FROM {table} JOIN instruments USING (instrument_id)
WHERE feature_set = '{feature_set.id}'"""  # noqa: S608 - names of ours
