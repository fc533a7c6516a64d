"""What stands in the record: the newest revision of feature rows and labels, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg

from backend.store.tables import LABEL_SET
from domain.market import EPOCH, Timeframe

_MS: Final = "(extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms"
# The index: ml_features_ohlcv_pkey.
_FEATURES: Final = f"""
SELECT DISTINCT ON (instrument_id, as_of) instrument_id, {_MS}, revision, candle_revision,
    coverage, row_hash
FROM ml_features_ohlcv WHERE instrument_id = ANY($1::int[]) AND timeframe = $2
    AND feature_set = $3 AND as_of >= $4 AND as_of <= $5
ORDER BY instrument_id, as_of, revision DESC
"""  # noqa: S608 - words of ours
# The index: ml_features_sentiment_pkey.
_TOLD: Final = f"""
SELECT DISTINCT ON (instrument_id, as_of) instrument_id, {_MS}, revision, row_hash
FROM ml_features_sentiment WHERE instrument_id = ANY($1::int[]) AND timeframe = $2
    AND feature_set = $3 AND as_of >= $4 AND as_of <= $5
ORDER BY instrument_id, as_of, revision DESC
"""  # noqa: S608 - words of ours
# The index: ml_labels_pkey.
_LABELS: Final = f"""
SELECT DISTINCT ON (instrument_id, as_of) instrument_id, {_MS}, revision, void,
    known_at IS NOT NULL AS complete, direction_known_at IS NOT NULL AS touched,
    coalesce(outcome::float8, 'NaN') AS outcome, coalesce(weight, 'NaN') AS weight,
    coalesce(log_return, 'NaN') AS log_return,
    coalesce(realized_volatility, 'NaN') AS realized_volatility,
    coalesce(uniqueness, 'NaN') AS uniqueness
FROM ml_labels WHERE instrument_id = ANY($1::int[]) AND timeframe = $2
    AND label_set = '{LABEL_SET}' AND horizon = $3 AND as_of >= $4 AND as_of <= $5
ORDER BY instrument_id, as_of, revision DESC
"""  # noqa: S608 - words of ours
# Of the panel that instruments belong to, all of one exchange.
_DROPPED: Final = """
SELECT beginning, since FROM dropped_features WHERE timeframe = $2 AND exchange IN (
    SELECT exchange FROM instruments WHERE instrument_id = ANY($1::int[])
)
"""
_FIRST: Final = """
SELECT min(first.as_of) FROM unnest($1::int[]) AS wanted (instrument_id) CROSS JOIN LATERAL (
    SELECT as_of FROM ml_features_ohlcv WHERE instrument_id = wanted.instrument_id
        AND timeframe = $2 AND feature_set = $3 ORDER BY as_of LIMIT 1
) AS first
"""
_UNANSWERED: Final = """
WITH answered AS (
    SELECT DISTINCT ON (instrument_id, as_of) instrument_id, as_of, candle_revision
    FROM ml_features_ohlcv WHERE instrument_id = ANY($1::int[]) AND timeframe = $2
        AND feature_set = $3 AND as_of >= $4 AND as_of <= $5
    ORDER BY instrument_id, as_of, revision DESC
)
SELECT min(close_time) FROM candles LEFT JOIN answered
    ON answered.instrument_id = candles.instrument_id AND as_of = close_time
WHERE candles.instrument_id = ANY($1::int[]) AND timeframe = $2
    AND open_time >= $4 - $6::interval AND open_time <= $5 - $6::interval
    AND candle_revision IS DISTINCT FROM revision
"""

Key = tuple[int, int]  # number of the instrument, as_of in ms


class FeatureRow(NamedTuple):
    """The newest revision of a feature row, without its values."""

    revision: int
    candle_revision: int
    coverage: float
    row_hash: bytes


class ToldRow(NamedTuple):
    """The newest revision of what sources told, without its values."""

    revision: int
    row_hash: bytes


class LabelRow(NamedTuple):
    """The newest revision of a label; NaN where it has no value."""

    revision: int
    void: bool
    complete: bool
    touched: bool
    answers: tuple[float, ...]  # outcome, weight, log_return, realized_volatility, uniqueness

    @property
    def direction(self) -> tuple[float, ...]:
        """Outcome, weight and uniqueness: all that a touch says."""
        return (*self.answers[:2], self.answers[4])


class Standing:
    """Reads for the set that all learn from, and features of any."""

    def __init__(self, pool: asyncpg.Pool, feature_set: str) -> None:
        self._pool = pool
        self._feature_set = feature_set

    async def features(
        self,
        ids: Sequence[int],
        timeframe: Timeframe,
        feature_set: str,
        *,
        first: datetime,
        last: datetime,
    ) -> dict[Key, FeatureRow]:
        """Rows with first ≤ as_of ≤ last."""
        found = await self._pool.fetch(_FEATURES, ids, timeframe.value, feature_set, first, last)
        return {(row[0], row[1]): FeatureRow(*row[2:]) for row in map(tuple, found)}

    async def told(
        self,
        ids: Sequence[int],
        timeframe: Timeframe,
        feature_set: str,
        *,
        first: datetime,
        last: datetime,
    ) -> dict[Key, ToldRow]:
        """Rows of what sources told, with first ≤ as_of ≤ last."""
        found = await self._pool.fetch(_TOLD, ids, timeframe.value, feature_set, first, last)
        return {(row[0], row[1]): ToldRow(*row[2:]) for row in map(tuple, found)}

    async def labels(
        self,
        ids: Sequence[int],
        timeframe: Timeframe,
        horizon: int,
        *,
        first: datetime,
        last: datetime,
    ) -> dict[Key, LabelRow]:
        """Labels of closes with first ≤ as_of ≤ last."""
        found = await self._pool.fetch(_LABELS, ids, timeframe.value, horizon, first, last)
        return {(row[0], row[1]): _label(row) for row in map(tuple, found)}

    async def beginning(self, ids: Sequence[int], timeframe: Timeframe) -> datetime | None:
        """The close of the oldest feature row that there ever was."""
        dropped = await self._pool.fetchrow(_DROPPED, ids, timeframe.value)
        moment: datetime | None = dropped and dropped["beginning"]
        return moment or await self._pool.fetchval(_FIRST, ids, timeframe.value, self._feature_set)

    async def since(self, ids: Sequence[int], timeframe: Timeframe) -> datetime:
        """The first close whose feature rows were not dropped; the epoch where none were."""
        dropped = await self._pool.fetchrow(_DROPPED, ids, timeframe.value)
        return dropped["since"] if dropped else EPOCH

    async def unanswered(
        self, ids: Sequence[int], timeframe: Timeframe, *, first: datetime, last: datetime
    ) -> datetime | None:
        """The first close with first ≤ close ≤ last of a candle whose version has no row.

        Of closes whose rows were dropped none is asked for.
        """
        first = max(first, await self.since(ids, timeframe))
        moment: datetime | None = await self._pool.fetchval(
            _UNANSWERED,
            ids,
            timeframe.value,
            self._feature_set,
            first,
            last,
            timeframe.duration,
        )
        return moment


def _label(row: tuple[Any, ...]) -> LabelRow:
    revision, void, complete, touched, *answers = row[2:]
    return LabelRow(revision, void, complete, touched, tuple(answers))
