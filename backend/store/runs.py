"""Trainings that were begun: one that was cut short is taken up again, by whoever comes next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from backend.store.leases import Fence, fenced, no_fence
from backend.store.tables import named, training_runs
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
_UNFINISHED: Final = f"""
SELECT {named(training_runs)} FROM training_runs
WHERE (exchange, timeframe) = ($1, $2) AND finished_at IS NULL ORDER BY as_of, horizon
"""  # noqa: S608 - words of ours

_FINISHED: Final = """
SELECT finished_at IS NOT NULL FROM training_runs
WHERE (exchange, timeframe, horizon, as_of) = ($1, $2, $3, $4)
"""
_MADE: Final = """
SELECT name || '@' || version AS model, (
    SELECT verdict FROM promotion_decisions AS d
    WHERE (d.exchange, d.timeframe, d.horizon, d.target, d.name, d.challenger_version)
        = (m.exchange, m.timeframe, m.horizon, m.target, m.name, m.version)
    ORDER BY id LIMIT 1
) AS verdict
FROM ml_models_metadata AS m
WHERE (exchange, timeframe, horizon, created_at) = ($1, $2, $3, $4) ORDER BY name, version
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
    """The record of them.

    Args:
        pool: of connections that write.
        fence: refuses what a worker notes that has lost its panel (`LeaseLostError`).
    """

    def __init__(self, pool: asyncpg.Pool, fence: Fence = no_fence) -> None:
        self._pool = pool
        self._fence = fence

    async def begin(self, run: Run, *, at: datetime) -> None:
        """Enter a run; one that was begun before stays as it was."""
        words = (run.effective_from, run.reason, run.split)
        await self._write(_BEGIN, *_key(run), *words, at)

    async def finish(self, run: Run, *, at: datetime) -> None:
        """All that was to be fitted and decided is."""
        await self._write(_FINISH, *_key(run), at)

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

    async def finished(
        self, exchange: str, timeframe: Timeframe, horizon: int, as_of: datetime
    ) -> bool | None:
        """Whether a training has ended; None: it was never begun."""
        found: bool | None = await self._pool.fetchval(
            _FINISHED, exchange, timeframe.value, horizon, as_of
        )
        return found

    async def made(
        self, exchange: str, timeframe: Timeframe, horizon: int, as_of: datetime
    ) -> list[dict[str, Any]]:
        """The versions that a training registered, with the first verdict on each."""
        rows = await self._pool.fetch(_MADE, exchange, timeframe.value, horizon, as_of)
        return [dict(row) for row in rows]

    async def _write(self, statement: str, *values: object) -> None:
        async with fenced(self._pool, self._fence) as connection:
            await connection.execute(statement, *values)


def _key(run: Run) -> tuple[str, str, int, datetime]:
    return run.exchange, run.timeframe.value, run.horizon, run.as_of
