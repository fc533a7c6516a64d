"""Which sets candles are made into, who reads them, and since when one is made no more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg

from domain.errors import StoreError

Place: TypeAlias = asyncpg.Pool | asyncpg.Connection

_RETIRED: Final = """
SELECT feature_set, retired_at FROM feature_sets WHERE retired_at IS NOT NULL
"""
_RETIRE: Final = """
UPDATE feature_sets SET retired_at = $2 WHERE feature_set = $1 AND retired_at IS NULL
"""
_MEMBERS: Final = """
SELECT m.exchange, m.timeframe, m.horizon, m.name, m.version, m.feature_set
FROM ml_models_metadata AS m JOIN model_aliases AS a
    USING (exchange, timeframe, horizon, target, name, version)
WHERE a.alias = 'champion' ORDER BY m.exchange, m.timeframe, m.horizon, m.name
"""
# The index: ml_features_ohlcv_pkey, of each series of the first set.
_BEHIND: Final = """
SELECT exchange, symbol, s.timeframe FROM ml_features_ohlcv_series AS s
JOIN instruments USING (instrument_id) WHERE s.feature_set = $1 AND (
    SELECT max(as_of) FROM ml_features_ohlcv AS t
    WHERE (t.instrument_id, t.timeframe, t.feature_set) = (s.instrument_id, s.timeframe, $1)
) > coalesce((
    SELECT max(as_of) FROM ml_features_ohlcv AS t
    WHERE (t.instrument_id, t.timeframe, t.feature_set) = (s.instrument_id, s.timeframe, $2)
), '-infinity') ORDER BY exchange, symbol, s.timeframe LIMIT 1
"""


class Reader(NamedTuple):
    """A member, and what it was fitted on."""

    exchange: str
    timeframe: str
    horizon: int
    name: str
    version: int
    feature_set: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version} ({self.exchange} {self.timeframe}x{self.horizon})"


async def retired(place: Place) -> dict[str, datetime]:
    """Since when each set is made no more that is not."""
    return {row["feature_set"]: row["retired_at"] for row in await place.fetch(_RETIRED)}


async def retire(place: Place, feature_set: str, *, at: datetime) -> None:
    """From the next start on it is made no more.

    Raises:
        StoreError: it was not registered, or is retired already.
    """
    done: str = await place.execute(_RETIRE, feature_set, at)
    if done != "UPDATE 1":
        raise StoreError(f"{feature_set} is no feature set that is made here")


async def readers(place: Place, feature_sets: Sequence[str]) -> list[Reader]:
    """The members that were fitted on one of them."""
    found = [Reader(*row) for row in await place.fetch(_MEMBERS)]
    return [one for one in found if one.feature_set in feature_sets]


async def behind(place: Place, feature_set: str, *, of: str) -> dict[str, Any] | None:
    """A series whose rows of `feature_set` end before those of another set; None: there is none."""
    row = await place.fetchrow(_BEHIND, of, feature_set)
    return None if row is None else dict(row)
