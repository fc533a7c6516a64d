"""Faults planted on purpose: each must turn a canary red."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from backend.learning.fits import FitOrder, read_task
from backend.store.columns import CandleSeries
from domain.events import CandleBatch, Examples, FeatureBatch, Floats, Ints
from domain.market import Instrument, to_ms
from services.features.engine import FeatureEngine
from services.models.fitting import FitResult, fit

Alter = Callable[[FeatureBatch], FeatureBatch]
Fit = Callable[[FitOrder], FitResult]
COLUMN = "log_return_1"
CONTENT = (
    "features",
    "outcome",
    "weight",
    "log_return",
    "realized_volatility",
    "uniqueness",
)
ANSWERS = CONTENT[1:]


class AlteredEngine(FeatureEngine):
    """The feature engine with something done to the rows of each tick."""

    def __init__(self, engine: FeatureEngine, alter: Alter) -> None:
        super().__init__(engine.feature_set, engine.exchange, engine.timeframe)
        self._alter = alter

    def on_candles(self, batch: CandleBatch) -> FeatureBatch:
        return self._alter(super().on_candles(batch))


def peeking(series: Sequence[CandleSeries]) -> Alter:
    """The last return is that of the next candle; unknown where there is none yet."""
    returns = _returns(series)
    return _altered(series, {name: np.append(one[1:], np.nan) for name, one in returns.items()})


def normalised(series: Sequence[CandleSeries]) -> Alter:
    """The last return is in standard deviations of the whole history."""
    returns = _returns(series)
    return _altered(series, {name: one / np.nanstd(one) for name, one in returns.items()})


def shuffled_split(order: FitOrder) -> FitResult:
    """A fit whose rows were dealt to training and test at random, not by time."""
    task = read_task(order)
    return fit(replace(task, examples=_shuffled(task.examples, CONTENT, order.seed)))


def shuffled_labels(order: FitOrder) -> FitResult:
    """A fit on answers that belong to other rows."""
    task = read_task(order)
    return fit(replace(task, examples=_shuffled(task.examples, ANSWERS, order.seed)))


def _shuffled(examples: Examples, names: Sequence[str], seed: int) -> Examples:
    order = np.random.default_rng(seed).permutation(len(examples))
    return replace(examples, **{name: getattr(examples, name)[order] for name in names})


def _returns(series: Sequence[CandleSeries]) -> dict[Instrument, Floats]:
    return {one.instrument: np.diff(np.log(one.close), prepend=np.nan) for one in series}


def _altered(series: Sequence[CandleSeries], values: dict[Instrument, Floats]) -> Alter:
    """`values` (candles,) of each instrument in the place of the column."""
    opens: Ints = series[0].open_ms

    def alter(batch: FeatureBatch) -> FeatureBatch:
        tick = int(np.searchsorted(opens, to_ms(batch.as_of))) - 1
        rows = batch.values.copy()
        column = batch.feature_set.columns.index(COLUMN)
        rows[:, column] = [values[one][tick] for one in batch.instruments]
        return replace(batch, values=rows)

    return alter
