"""Which sets candles are made into, who reads them, and since when one is made no more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from backend.store.database import PoolOrConnection

_RETIRED: Final = """
SELECT feature_set, retired_at FROM feature_sets WHERE retired_at IS NOT NULL
"""
_RETIRE: Final = """
UPDATE feature_sets SET retired_at = $2 WHERE feature_set = $1 AND retired_at IS NULL
"""
# Where a system has said what it makes, those of it alone.
_BESIDE: Final = """
WITH made AS (
    SELECT jsonb_array_elements_text(told->'feature_sets') AS feature_set FROM system_status
)
SELECT feature_set, code_sha FROM feature_sets
WHERE feature_set LIKE 'ohlcv@%' AND feature_set <> $1 AND retired_at IS NULL
    AND (NOT EXISTS (SELECT FROM made) OR feature_set IN (SELECT feature_set FROM made))
ORDER BY feature_set
"""
_MEMBERS: Final = """
SELECT m.exchange, m.timeframe, m.horizon, m.name, m.version, m.feature_set
FROM ml_models_metadata AS m JOIN model_aliases AS a
    USING (exchange, timeframe, horizon, target, name, version)
WHERE a.alias = 'champion' ORDER BY m.exchange, m.timeframe, m.horizon, m.name
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


async def retired(place: PoolOrConnection) -> dict[str, datetime]:
    """Since when each set is made no more that is not."""
    return {row["feature_set"]: row["retired_at"] for row in await place.fetch(_RETIRED)}


async def retire(place: PoolOrConnection, feature_set: str, *, at: datetime) -> None:
    """From the next start on it is made no more; one that is retired already stays so."""
    await place.execute(_RETIRE, feature_set, at)


async def beside(place: PoolOrConnection, feature_set: str) -> dict[str, str]:
    """The sets that candles are made into beside one, with the code that makes each."""
    rows = await place.fetch(_BESIDE, feature_set)
    return {row["feature_set"]: row["code_sha"] for row in rows}


async def readers(place: PoolOrConnection, feature_sets: Sequence[str]) -> list[Reader]:
    """The members that were fitted on one of them."""
    found = [Reader(*row) for row in await place.fetch(_MEMBERS)]
    return [one for one in found if one.feature_set in feature_sets]
