"""How every forecaster did: mean losses beside its baseline's, by day, from scored rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import asyncpg
import numpy as np

from domain.events import Target
from domain.losses import BASELINES, LOSS_OF
from domain.market import Horizon, Timeframe, to_ms
from services.scores.skill import ScoredRows, pooled_skill

SEED: Final = 0  # of the block bootstrap: the same rows give the same interval
# Enough for a hash join of a year. The days are a table of their own in the statement so
# that the planner expects few groups; by an expression of `as_of` it would sort every row.
WORK_MEMORY: Final = "128MB"
_GROUP: Final = ("exchange", "timeframe", "horizon", "role", "model", "origin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose record; an empty tuple is everyone's. Times are of `as_of`, half-open."""

    exchanges: Sequence[str] = ()
    timeframes: Sequence[str] = ()
    horizons: Sequence[int] = ()
    roles: Sequence[str] = ()
    models: Sequence[str] = ()
    symbols: Sequence[str] = ()
    start: datetime | None = None
    end: datetime | None = None
    scored_by: datetime | None = None  # outcomes known at this time


async def read_record(connection: asyncpg.Connection, scope: Scope) -> list[dict[str, Any]]:
    """One row for each (exchange, timeframe, horizon, role, model, origin, target).

    A row holds `count` and `effective_count` (the sum of label uniqueness), the mean loss
    (of daily means), the baseline's on the same rows, and skill with its 95 % interval. Of
    two baselines the one with the lower mean loss counts. Rows made live and in a backtest
    stay apart.
    """
    record: list[dict[str, Any]] = []
    async with connection.transaction():
        await connection.execute(f"SET LOCAL work_mem = '{WORK_MEMORY}'")
        for target in BASELINES:
            found = await connection.fetch(
                _daily(LOSS_OF[target]), list(BASELINES[target]), *_values(scope)
            )
            record.extend(_rows(target, found))
    return sorted(record, key=lambda row: tuple(str(row[name]) for name in (*_GROUP, "target")))


def _values(scope: Scope) -> list[Any]:
    lists = (
        scope.exchanges,
        scope.timeframes,
        scope.horizons,
        scope.roles,
        scope.models,
        scope.symbols,
    )
    return [*(list(each) or None for each in lists), scope.start, scope.end, scope.scored_by]


def _rows(target: Target, found: Sequence[asyncpg.Record]) -> Iterator[dict[str, Any]]:
    ordered = sorted(found, key=lambda row: (_key(row), row["baseline"], row["day"]))
    for key, days in groupby(ordered, key=_key):
        named = dict(zip(_GROUP, key, strict=True))
        by_baseline = {
            baseline: list(rows) for baseline, rows in groupby(days, lambda row: row["baseline"])
        }
        baseline = min(by_baseline, key=lambda name: _mean(by_baseline[name], "baseline_loss"))
        yield _row(target, named, baseline, by_baseline[baseline])


def _key(row: asyncpg.Record) -> tuple[Any, ...]:
    return tuple(row[name] for name in _GROUP)


def _row(
    target: Target, named: dict[str, Any], baseline: str, days: list[asyncpg.Record]
) -> dict[str, Any]:
    judged = named["model"] not in BASELINES[target]
    skill, low, high = _skill(named, days) if judged else (None, None, None)
    return {
        **named,
        "target": target.value,
        "loss_name": LOSS_OF[target],
        "count": sum(day["count"] for day in days),
        "effective_count": sum(day["effective_count"] for day in days),
        "loss": _mean(days, "loss"),
        "baseline": baseline,
        "baseline_loss": _mean(days, "baseline_loss"),
        "skill": skill,
        "skill_interval95": None if low is None or high is None else [low, high],
        "first_as_of": min(day["first_as_of"] for day in days),
        "last_as_of": max(day["last_as_of"] for day in days),
    }


def _mean(days: Sequence[asyncpg.Record], column: str) -> float:
    return float(np.mean([day[column] for day in days]))


def _skill(
    named: dict[str, Any], days: Sequence[asyncpg.Record]
) -> tuple[float | None, float | None, float | None]:
    # Means of daily means: a day's mean stands for its rows.
    daily = ScoredRows(
        as_of_ms=np.array([to_ms(day["day"]) for day in days], dtype=np.int64),
        instrument=np.zeros(len(days), dtype=np.int64),
        loss=np.array([day["loss"] for day in days]),
        baseline_loss=np.array([day["baseline_loss"] for day in days]),
    )
    horizon = Horizon(Timeframe(named["timeframe"]), named["horizon"])
    estimate = pooled_skill(daily, horizon, SEED)
    return _known(estimate.skill), _known(estimate.low), _known(estimate.high)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _daily(loss: str) -> str:
    return f"""
    SELECT i.exchange, o.timeframe, o.horizon, o.role, o.model, o.origin, b.model AS baseline,
           d.day, count(*)::int AS count,
           coalesce(sum(l.uniqueness), 0) AS effective_count,
           avg(o.{loss}) AS loss, avg(b.{loss}) AS baseline_loss,
           min(o.as_of) AS first_as_of, max(o.as_of) AS last_as_of
    FROM ml_prediction_outcomes o
    JOIN ml_prediction_outcomes b
      USING (instrument_id, timeframe, horizon, as_of, revision)
    JOIN instruments i USING (instrument_id)
    JOIN generate_series(timestamptz '2009-01-03Z', '2109-01-03Z', '1 day') AS d (day)
      ON d.day = date_bin('1 day', o.as_of, 'epoch')
    LEFT JOIN ml_labels l
      ON l.instrument_id = o.instrument_id AND l.timeframe = o.timeframe
     AND l.horizon = o.horizon AND l.as_of = o.as_of AND l.revision = o.revision
    WHERE b.model = ANY($1) AND b.{loss} IS NOT NULL AND o.{loss} IS NOT NULL
      AND ($2::text[] IS NULL OR i.exchange = ANY($2))
      AND ($3::text[] IS NULL OR o.timeframe = ANY($3))
      AND ($4::int[] IS NULL OR o.horizon = ANY($4))
      AND ($5::text[] IS NULL OR o.role = ANY($5))
      AND ($6::text[] IS NULL OR o.model = ANY($6))
      AND ($7::text[] IS NULL OR i.symbol = ANY($7))
      AND ($8::timestamptz IS NULL OR o.as_of >= $8)
      AND ($9::timestamptz IS NULL OR o.as_of < $9)
      AND ($8::timestamptz IS NULL OR b.as_of >= $8)
      AND ($9::timestamptz IS NULL OR b.as_of < $9)
      AND ($10::timestamptz IS NULL OR (o.scored_at <= $10 AND b.scored_at <= $10))
    GROUP BY i.exchange, o.timeframe, o.horizon, o.role, o.model, o.origin, b.model, d.day
    """  # noqa: S608 - the loss is one of ours
