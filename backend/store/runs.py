"""Trainings that were begun: one that was cut short is taken up again, by whoever comes next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from domain.market import Timeframe

_BEGIN: Final = """
INSERT INTO training_runs (
    exchange, timeframe, horizon, as_of, effective_from, reason, split, begun_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (exchange, timeframe, horizon, as_of) DO NOTHING
"""
_FINISH: Final = """
UPDATE training_runs SET finished_at = $5
WHERE (exchange, timeframe, horizon, as_of) = ($1, $2, $3, $4)
"""
_UNFINISHED: Final = """
SELECT * FROM training_runs
WHERE (exchange, timeframe) = ($1, $2) AND finished_at IS NULL ORDER BY as_of, horizon
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training of a panel's horizon, as it was asked for."""

    exchange: str
    timeframe: Timeframe
    horizon: int
    as_of: datetime  # nothing that was known later is fitted on
    effective_from: datetime
    reason: str
    split: str


class Runs:
    """The record of them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, run: Run, *, at: datetime) -> None:
        """Enter a run; one that was begun before stays as it was."""
        words = (run.effective_from, run.reason, run.split)
        await self._pool.execute(_BEGIN, *_key(run), *words, at)

    async def finish(self, run: Run, *, at: datetime) -> None:
        """All that was to be fitted and decided is."""
        await self._pool.execute(_FINISH, *_key(run), at)

    async def unfinished(self, exchange: str, timeframe: Timeframe) -> list[Run]:
        """The runs of a panel that nobody finished, oldest first."""
        rows = await self._pool.fetch(_UNFINISHED, exchange, timeframe.value)
        return [
            Run(
                exchange=exchange,
                timeframe=timeframe,
                horizon=row["horizon"],
                as_of=row["as_of"],
                effective_from=row["effective_from"],
                reason=row["reason"],
                split=row["split"],
            )
            for row in rows
        ]


def _key(run: Run) -> tuple[str, str, int, datetime]:
    return run.exchange, run.timeframe.value, run.horizon, run.as_of
