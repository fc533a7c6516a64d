"""Drops old feature rows of candles, which can be derived again while candles are there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from backend.store.database import PoolOrConnection
from backend.store.locks import take_turn
from backend.store.retention import TURN
from backend.store.score_days import day_of
from domain.market import Timeframe

CLOSES: Final = 2_000  # that stay, whatever the days: what rooms remember, and a first fit
PIECE: Final = timedelta(hours=1)  # of closes in a transaction, one at least

_PANELS: Final = "SELECT log FROM stream_heads WHERE log LIKE 'predictions.%' ORDER BY log"
_EDGE: Final = """
SELECT {end}(edge.as_of) FROM instruments AS i CROSS JOIN LATERAL (
    SELECT as_of FROM ml_features_ohlcv WHERE instrument_id = i.instrument_id
        AND timeframe = $2 AND feature_set = $3 ORDER BY as_of {order} LIMIT 1
) AS edge WHERE exchange = $1
"""
_FIRST: Final = _EDGE.format(end="min", order="")
_LAST: Final = _EDGE.format(end="max", order="DESC")
_MARK: Final = """
INSERT INTO dropped_features AS kept (exchange, timeframe, beginning, since)
VALUES ($1, $2, $3, $4) ON CONFLICT (exchange, timeframe) DO UPDATE SET
    beginning = least(kept.beginning, EXCLUDED.beginning),
    since = greatest(kept.since, EXCLUDED.since)
"""
_DROP: Final = """
DELETE FROM ml_features_ohlcv WHERE timeframe = $2 AND feature_set = $3 AND as_of < $4
    AND instrument_id = ANY(ARRAY(SELECT instrument_id FROM instruments WHERE exchange = $1))
"""


_SETS: Final = """
SELECT feature_set FROM feature_sets WHERE feature_set LIKE 'ohlcv@%' ORDER BY feature_set
"""


class Features(NamedTuple):
    """The feature rows of one panel and set."""

    exchange: str
    timeframe: Timeframe
    feature_set: str

    @classmethod
    async def of_panels(cls, connection: asyncpg.Connection) -> list[Features]:
        """Those of every panel that has predicted, of each set that candles were made into."""
        rows = await connection.fetch(_PANELS)
        places = [row["log"].split(".", 2) for row in rows]
        sets = [row["feature_set"] for row in await connection.fetch(_SETS)]
        return [
            cls(exchange, Timeframe(frame), one) for _, frame, exchange in places for one in sets
        ]

    @property
    def place(self) -> tuple[str, str]:
        """What rows are asked for by."""
        return self.exchange, self.timeframe.value

    async def before(
        self, connection: asyncpg.Connection, now: datetime, *, days: int
    ) -> datetime | None:
        """The day before which rows may go that are older than `days`; None: there are none."""
        newest = await connection.fetchval(_LAST, *self.place, self.feature_set)
        if newest is None:
            return None
        kept = max(timedelta(days=days), CLOSES * self.timeframe.duration)
        return day_of(min(now, newest) - kept)

    async def drop(self, connection: asyncpg.Connection, before: datetime) -> bool:
        """Drop the oldest; whether there were any."""
        place = self.place
        async with connection.transaction():
            await take_turn(connection, {TURN})
            first = await connection.fetchval(_FIRST, *place, self.feature_set)
            if first is None or first >= before:
                return False
            until = min(before, first + max(PIECE, self.timeframe.duration))
            await connection.execute(_MARK, *place, first, until)
            await connection.execute(_DROP, *place, self.feature_set, until)
        return True


async def kept_since(
    connection: PoolOrConnection, exchange: str, timeframe: str
) -> datetime | None:
    """The first close whose feature rows were not dropped; None: none were."""
    moment: datetime | None = await connection.fetchval(
        "SELECT since FROM dropped_features WHERE (exchange, timeframe) = ($1, $2)",
        exchange,
        timeframe,
    )
    return moment
