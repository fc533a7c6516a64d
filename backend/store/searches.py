"""Searches for parameters, and all that was tried: none is tried unseen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from backend.store.tables import named, searches
from domain.errors import UsageError
from domain.market import Timeframe

_PLACE: Final = "(exchange, timeframe, horizon, model) = ($1, $2, $3, $4)"
_BEGIN: Final = f"""
INSERT INTO searches (
    exchange, timeframe, horizon, model, recipe, seed, feature_set, until, maximum_rows,
    data_sha256, begun_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING {named(searches)}
"""  # noqa: S608 - words of ours
_NEWEST: Final = f"""
SELECT {named(searches)} FROM searches WHERE {_PLACE} ORDER BY id DESC LIMIT 1
"""  # noqa: S608 - words of ours
_TRIALS: Final = "SELECT parameters, loss FROM search_trials WHERE search_id = $1 ORDER BY number"
_ENTER: Final = """
INSERT INTO search_trials (search_id, number, parameters, loss, tried_at)
VALUES ($1, $2, $3, $4, $5)
"""
_END: Final = "UPDATE searches SET found = $2, ended_at = $3 WHERE id = $1"
_COUNT: Final = f"""
SELECT count(*) FROM search_trials JOIN searches ON searches.id = search_id WHERE {_PLACE}
"""  # noqa: S608 - words of ours
_PLACES: Final = """
SELECT DISTINCT exchange, timeframe, horizon FROM training_runs
WHERE ($1::text IS NULL OR exchange = $1) AND ($2::text IS NULL OR timeframe = $2)
  AND ($3::int IS NULL OR horizon = $3)
ORDER BY exchange, timeframe, horizon
"""
_NEWEST_LABEL: Final = """
SELECT max(known_at) FROM ml_labels JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND timeframe = $2 AND horizon = $3 AND known_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose models are searched for; trials are counted by it."""

    exchange: str
    timeframe: Timeframe
    horizon: int
    model: str

    def key(self) -> tuple[str, str, int, str]:
        return self.exchange, self.timeframe.value, self.horizon, self.model

    def __str__(self) -> str:
        return f"{self.exchange} {self.timeframe.value}x{self.horizon} {self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is fixed as a search begins: its trials are of the same rows."""

    recipe: Mapping[str, Any]  # that is varied, as written, and where it is searched
    seed: int
    feature_set: str
    until: datetime  # nothing that was known later is read
    maximum_rows: int
    data_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Parameters that were tried, and their loss before the holdout; None: they gave none."""

    parameters: Mapping[str, Any]
    loss: float | None


class Searches:
    """The record of them.

    Args:
        pool: of the database.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def places(
        self, exchange: str | None, timeframe: Timeframe | None, horizon: int | None
    ) -> list[tuple[str, Timeframe, int]]:
        """Where models have been trained, of those asked for."""
        rows = await self._pool.fetch(_PLACES, exchange, timeframe and timeframe.value, horizon)
        return [(one["exchange"], Timeframe(one["timeframe"]), one["horizon"]) for one in rows]

    async def newest_label(self, place: Place) -> datetime | None:
        """When the newest label of a panel became known; None: there is none."""
        known: datetime | None = await self._pool.fetchval(_NEWEST_LABEL, *place.key()[:3])
        return known

    @asynccontextmanager
    async def alone(self, place: Place) -> AsyncIterator[None]:
        """No other process searches here meanwhile; if this one is killed, another may.

        Raises:
            UsageError: one does.
        """
        async with self._pool.acquire() as connection:
            lock = "hashtextextended($1, 0)"
            words = f"search {place}"
            if not await connection.fetchval(f"SELECT pg_try_advisory_lock({lock})", words):
                raise UsageError(f"another search of {place} runs")
            try:
                yield
            finally:
                await connection.execute(f"SELECT pg_advisory_unlock({lock})", words)

    async def newest(self, place: Place) -> dict[str, Any] | None:
        """The last search that began at a place; None: there was none."""
        row = await self._pool.fetchrow(_NEWEST, *place.key())
        return None if row is None else _read(row)

    async def begin(self, place: Place, fixed: Beginning, *, at: datetime) -> dict[str, Any]:
        """Enter a new one."""
        row = await self._pool.fetchrow(
            _BEGIN,
            *place.key(),
            orjson.dumps(fixed.recipe).decode(),
            fixed.seed,
            fixed.feature_set,
            fixed.until,
            fixed.maximum_rows,
            fixed.data_sha256,
            at,
        )
        return _read(row)

    async def trials(self, search: int) -> list[Trial]:
        """All that one tried, oldest first."""
        rows = await self._pool.fetch(_TRIALS, search)
        return [Trial(parameters=orjson.loads(one["parameters"]), loss=one["loss"]) for one in rows]

    async def enter(self, search: int, number: int, trial: Trial, *, at: datetime) -> None:
        """Something was tried."""
        parameters = orjson.dumps(trial.parameters).decode()
        await self._pool.execute(_ENTER, search, number, parameters, trial.loss, at)

    async def end(self, search: int, found: Mapping[str, Any], *, at: datetime) -> None:
        """What it found; nothing more is tried on its rows once that has a holdout in it."""
        await self._pool.execute(_END, search, orjson.dumps(found).decode(), at)

    async def count(self, place: Place) -> int:
        """How many were tried at a place, by all searches."""
        return int(await self._pool.fetchval(_COUNT, *place.key()))


def _read(row: asyncpg.Record) -> dict[str, Any]:
    written = {"recipe", "found"}
    return {
        name: orjson.loads(value) if name in written and value else value
        for name, value in row.items()
    }
