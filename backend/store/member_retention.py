"""Drops what members and challengers said and how they did, once the days of the record tell it.

What the served row said and how it did stays, and so do the baselines that it is laid beside. A day
goes close by close, and only when it is folded into `score_days`; from then on it is never folded
anew, as its rows are gone. Nothing goes that a decision may still look at.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

from backend.store.locks import take_turn
from backend.store.retention import TURN
from backend.store.score_days import DAY, Group, day_of
from domain.losses import BASELINE_NAMES
from domain.market import EPOCH, Horizon, Timeframe
from services.scores.blocks import block_ms
from services.scores.promotion import LOOKS

FEWEST_BLOCKS: Final = 2 * LOOKS[-1]  # that stay, whatever the days: a challenge takes its looks
MOMENT: Final = timedelta(microseconds=1)

_IDS: Final = "SELECT array_agg(instrument_id) FROM instruments WHERE exchange = $1"
_NEWEST: Final = """
SELECT max(last.as_of) FROM unnest($1::int[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT as_of FROM ml_prediction_outcomes WHERE instrument_id = wanted.id
        AND timeframe = $2 AND horizon = $3 ORDER BY as_of DESC LIMIT 1
) AS last
"""
_NEXT: Final = """
SELECT min(first.as_of) FROM unnest($1::int[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT as_of FROM ml_prediction_outcomes WHERE instrument_id = wanted.id
        AND timeframe = $2 AND horizon = $3 AND as_of >= $4 ORDER BY as_of LIMIT 1
) AS first
"""
# Of the targets whose last word on a challenge is that it goes on: when the earliest began.
_CHALLENGED: Final = """
SELECT min((evidence->>'begun')::timestamptz) FROM (
    SELECT DISTINCT ON (target) verdict, evidence FROM promotion_decisions
    WHERE (exchange, timeframe, horizon) = ($1, $2, $3::int) AND trigger = 'challenge'
        AND name = 'pool.' || target
    ORDER BY target, id DESC
) AS newest WHERE verdict = 'keep'
"""
_UNTIL: Final = """
SELECT until FROM dropped_members WHERE (exchange, timeframe, horizon) = ($1, $2, $3::int)
"""
_FOLDED: Final = """
SELECT max(day) FROM score_days WHERE (exchange, timeframe, horizon) = ($1, $2, $3::int)
"""
_MARK: Final = """
INSERT INTO dropped_members (exchange, timeframe, horizon, until) VALUES ($1, $2, $3, $4)
ON CONFLICT (exchange, timeframe, horizon) DO UPDATE SET until = EXCLUDED.until
"""
_DROP: Final = """
WITH judged AS (
    DELETE FROM ml_prediction_outcomes WHERE instrument_id = ANY($1::int[]) AND timeframe = $2
        AND horizon = $3 AND as_of = $4 AND role <> 'champion' AND model <> ALL($5::text[])
    RETURNING instrument_id, timeframe, horizon, as_of, revision, role, model
)
DELETE FROM ml_predictions AS said USING judged
WHERE (said.instrument_id, said.timeframe, said.horizon, said.as_of, said.revision, said.role,
    said.model) = (judged.instrument_id, judged.timeframe, judged.horizon, judged.as_of,
    judged.revision, judged.role, judged.model)
    AND said.timeframe = $2 AND said.horizon = $3 AND said.as_of = $4
"""


class Members:
    """The rows of one exchange, timeframe and horizon, on one connection."""

    def __init__(self, connection: asyncpg.Connection, group: Group) -> None:
        self._connection, self._group = connection, group
        self._ids: list[int] = []
        self._since = EPOCH

    async def before(self, now: datetime, *, days: int) -> datetime | None:
        """The day before which rows may go that are older than `days`; None: there are none."""
        exchange, timeframe, horizon = self._group
        self._ids = await self._connection.fetchval(_IDS, exchange)
        newest = await self._connection.fetchval(_NEWEST, self._ids, timeframe, horizon)
        folded = await self._connection.fetchval(_FOLDED, *self._group)
        if newest is None or folded is None:
            return None
        size = timedelta(milliseconds=block_ms(Horizon(Timeframe(timeframe), horizon)))
        old = min(now, newest) - max(timedelta(days=days), FEWEST_BLOCKS * size)
        begun = await self._connection.fetchval(_CHALLENGED, *self._group)
        return day_of(min(old, folded + DAY, begun or old))

    async def drop(self, before: datetime) -> bool:
        """Drop those of the next close; whether there was one."""
        connection, (_, timeframe, horizon) = self._connection, self._group
        async with connection.transaction():
            await take_turn(connection, {TURN})
            until = await connection.fetchval(_UNTIL, *self._group)
            begin = max(self._since, (until or EPOCH) - DAY)  # of the last day some may be left
            close = await connection.fetchval(_NEXT, self._ids, timeframe, horizon, begin)
            if close is None or close >= before:
                return False
            day = day_of(close)
            if until is None or until <= day:
                # Whoever writes outcomes takes days out of the folded ones, or waits for us.
                await connection.execute("LOCK TABLE score_days IN EXCLUSIVE MODE")
                folded = await connection.fetchval(_FOLDED, *self._group)
                if folded is None or folded < day:
                    return False
                await connection.execute(_MARK, *self._group, day + DAY)
            names = sorted(BASELINE_NAMES)
            await connection.execute(_DROP, self._ids, timeframe, horizon, close, names)
        self._since = close + MOMENT
        return True
