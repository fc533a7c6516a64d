"""How every forecaster did: mean losses beside its baseline's, by day, from scored rows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import asyncpg
import numpy as np

from backend.store.score_days import Scope, prepare, read_days
from domain.events import Target
from domain.losses import BASELINES, LOSS_OF
from domain.market import Horizon, Timeframe, to_ms
from services.scores.skill import ScoredRows, pooled_skill

DECIMALS: Final = 12
SEED: Final = 0  # of the block bootstrap: the same rows give the same interval
Row = Mapping[str, Any]
_GROUP: Final = ("exchange", "timeframe", "horizon", "role", "model", "origin")


async def read_record(connection: asyncpg.Connection, scope: Scope) -> list[dict[str, Any]]:
    """One row for each (exchange, timeframe, horizon, role, model, origin, target).

    A row holds `count` and `effective_count` (the sum of label uniqueness), the mean loss
    (of daily means), the baseline's on the same rows, and skill with its 95 % interval. Of
    two baselines the one with the lower mean loss counts. What was said live, late and over
    history stays apart, the baselines' rows too.
    """
    record: list[dict[str, Any]] = []
    # Of one moment: a day that is folded or unfolded meanwhile would be read twice or not at all.
    moment = None if connection.is_in_transaction() else "repeatable_read"
    async with connection.transaction(isolation=moment):
        await prepare(connection)
        for target in BASELINES:
            days = await read_days(connection, target, scope)
            # A thousand draws a forecaster: the loop has ticks to serve meanwhile.
            record += await asyncio.to_thread(_rows, target, days)
    return sorted(record, key=lambda row: tuple(str(row[name]) for name in (*_GROUP, "target")))


async def read_daily(
    connection: asyncpg.Connection, targets: Sequence[Target], scope: Scope
) -> list[dict[str, Any]]:
    """The days behind `read_record`, one row each, oldest first."""
    daily: list[dict[str, Any]] = []
    moment = None if connection.is_in_transaction() else "repeatable_read"
    async with connection.transaction(isolation=moment):
        await prepare(connection)
        for target in targets:
            for _, _, days in _compared(await read_days(connection, target, scope)):
                daily += [
                    {**_day(day), "target": target, "loss_name": LOSS_OF[target]} for day in days
                ]
    return daily


def _day(row: Row) -> dict[str, Any]:
    figures = {name: _figure(row[name]) for name in ("effective_count", "loss", "baseline_loss")}
    named = {name: row[name] for name in (*_GROUP, "day", "count", "baseline")}
    return {**named, **figures}


def _rows(target: Target, found: Sequence[Row]) -> list[dict[str, Any]]:
    return [_row(target, *one) for one in _compared(found)]


def _compared(found: Sequence[Row]) -> Iterator[tuple[dict[str, Any], str, list[Row]]]:
    """Every forecaster with the baseline that counts for it, and its days beside that one."""
    ordered = sorted(found, key=lambda row: (_key(row), row["baseline"], row["day"]))
    for key, days in groupby(ordered, key=_key):
        named = dict(zip(_GROUP, key, strict=True))
        by_baseline = {
            baseline: list(rows) for baseline, rows in groupby(days, lambda row: row["baseline"])
        }
        baseline = min(by_baseline, key=lambda name: _mean(by_baseline[name], "baseline_loss"))
        yield named, baseline, by_baseline[baseline]


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _GROUP)


def _row(target: Target, named: dict[str, Any], baseline: str, days: list[Row]) -> dict[str, Any]:
    judged = named["model"] not in BASELINES[target]
    skill, low, high = _skill(named, days) if judged else (None, None, None)
    return {
        **named,
        "target": target.value,
        "loss_name": LOSS_OF[target],
        "count": sum(day["count"] for day in days),
        "effective_count": _figure(sum(day["effective_count"] for day in days)),
        "loss": _mean(days, "loss"),
        "baseline": baseline,
        "baseline_loss": _mean(days, "baseline_loss"),
        "skill": skill,
        "skill_interval95": None if low is None or high is None else [low, high],
        "first_as_of": min(day["first_as_of"] for day in days),
        "last_as_of": max(day["last_as_of"] for day in days),
    }


def _mean(days: Sequence[Row], column: str) -> float:
    return _figure(float(np.mean([day[column] for day in days])))


def _skill(
    named: dict[str, Any], days: Sequence[Row]
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
    return _figure(value) if math.isfinite(value) else None


def _figure(value: float) -> float:
    """Without the last digits, which tell only in which order the rows were added up."""
    return round(value, DECIMALS)
