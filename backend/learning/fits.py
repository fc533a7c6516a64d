"""One fit in a worker process: read the examples from the store, fit, hand back the evidence."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

import numpy as np

from backend.plugins import SwitchedOn, catalogue_of
from backend.store.database import pool_of_one
from backend.store.history import History
from backend.store.instruments import Instruments
from domain.events import Examples, FeatureSet
from domain.market import Timeframe, from_ms
from domain.past import Past
from services.features.kinds import RELEASE
from services.models.fitting import FitResult, FitTask, data_sha256, fit, known
from services.models.recipes import Recipe
from services.models.searching import losses_of_folds
from services.models.walk_forward import SplitKind
from services.sentiment.feature_set import SENTIMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesOrder:
    """Which rows a training reads; the same for all kinds of one training."""

    database_url: str
    exchange: str
    timeframe: Timeframe
    horizon: int
    feature_set: FeatureSet  # that models are fitted on; rows have all columns there are
    until: datetime  # nothing that was known later
    maximum_rows: int
    candles: str = RELEASE.id  # the candle set that those columns are of


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOrder:
    """One kind to fit on those rows."""

    examples: ExamplesOrder
    recipe: Recipe
    split: SplitKind
    seed: int
    plugins: SwitchedOn


def fit_from_store(order: FitOrder) -> FitResult:
    """Run in a worker process.

    Raises:
        ValueError: too few rows.
        StoreUnavailableError: the database is away.
    """
    return fit(read_task(order), catalogue_of(order.plugins))


def try_from_store(order: FitOrder) -> tuple[float, ...]:
    """The losses of a recipe on the folds before the holdout; run in a worker process.

    Raises:
        ValueError: too few rows.
        StoreUnavailableError: the database is away.
    """
    return losses_of_folds(read_task(order), catalogue_of(order.plugins))


def rows_from_store(order: FitOrder) -> str:
    """The identity of the rows that a fit would read; run in a worker process."""
    task = read_task(order)
    return data_sha256(known(task.examples, task.recipe.target), task.columns)


def read_task(order: FitOrder) -> FitTask:
    """The order with its examples, and what was before them where its recipe reads it."""
    rows, candles = order.examples, order.recipe.past
    examples = read_examples(rows)
    if candles:
        past = asyncio.run(_read_past(rows, examples, candles))
        examples = replace(examples, past=past)
    return FitTask(
        recipe=order.recipe,
        horizon=rows.horizon,
        horizon_ms=rows.horizon * rows.timeframe.ms,
        columns=rows.feature_set.model_columns,
        examples=examples,
        split=order.split,
        seed=order.seed,
    )


@lru_cache(maxsize=1)  # the kinds of one training follow each other in this process
def read_examples(order: ExamplesOrder) -> Examples:
    return asyncio.run(_read(order))


async def _read_past(order: ExamplesOrder, examples: Examples, candles: int) -> Past:
    """The rows that many candles before each example or fewer, as known when they are."""
    instruments = sorted(set(examples.instruments))
    back = np.arange(1, candles + 1) * order.timeframe.ms
    closes_ms = np.unique(examples.as_of_ms[:, None] - back)
    async with pool_of_one(order.database_url) as pool:
        rows = await History(pool, Instruments(pool)).rows_at(
            instruments,
            order.timeframe,
            [from_ms(one) for one in closes_ms.tolist()],
            feature_set=order.candles,
            beside=SENTIMENT.id,
            until=order.until,
        )
    numbers = {one: number for number, one in enumerate(instruments)}
    return Past.behind(
        np.array([numbers[one] for one in examples.instruments], dtype=np.int64),
        examples.as_of_ms,
        columns=rows.columns,
        rows=rows.values,
        of=np.array([numbers[one] for one in rows.instruments], dtype=np.int64),
        closes_ms=rows.as_of_ms,
        candles=candles,
        candle_ms=order.timeframe.ms,
    )


async def _read(order: ExamplesOrder) -> Examples:
    async with pool_of_one(order.database_url) as pool:
        # After a bulk load the planner would otherwise take both tables for empty.
        await pool.execute("ANALYZE ml_labels, ml_features_ohlcv, ml_features_sentiment")
        return await History(pool, Instruments(pool)).examples(
            order.exchange,
            order.timeframe,
            order.horizon,
            feature_set=order.candles,
            beside=SENTIMENT.id,
            until=order.until,
            rows=order.maximum_rows,
        )
