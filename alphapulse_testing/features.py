"""What every feature set of a plug-in must do: `feature_checks(SET)` in a parametrised test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np

from alphapulse_testing.check import Check, checks, require
from alphapulse_testing.walk import FIRST, INSTRUMENTS, NEAR, walked_candles
from domain.events import Floats
from domain.market import Timeframe
from services.features.engine import FeatureEngine
from services.features.feature_set import OHLCV
from services.models.kinds import FeatureKind
from services.sentiment.feature_set import SENTIMENT

CANDLES: Final = 600
COLUMNS: Final = OHLCV.columns + SENTIMENT.columns


@lru_cache(maxsize=1)
def walk() -> tuple[Floats, Floats]:
    """Rows (m, columns) of `COLUMNS` over a random walk of four instruments, oldest first.

    Warm-up is among them; what sources tell is unknown in every other row. Beside them the log
    return of the candle that follows, (m,).
    """
    candles = walked_candles(CANDLES)
    engine = FeatureEngine(OHLCV, "walk", Timeframe.H1)
    hours = (FIRST + np.arange(1, CANDLES + 1)) * Timeframe.H1.ms
    values, _ = engine.walk(instruments=INSTRUMENTS, as_of_ms=hours, candles=candles[:-1])
    own, close = values.reshape(-1, len(OHLCV.columns)), candles[..., 3]
    told = np.random.default_rng(6).normal(size=(len(own), len(SENTIMENT.columns)))
    told[::2] = np.nan
    return np.hstack((own, told)), np.log(close[1:] / close[:-1]).ravel()


@dataclass
class Derived:
    """A feature set, and what it reads of the walk."""

    features: FeatureKind

    @property
    def name(self) -> str:
        return self.features.name

    @cached_property
    def inputs(self) -> Floats:
        places = [COLUMNS.index(column) for column in self.features.reads]
        rows: Floats = walk()[0][:, places]
        return rows

    def compute(self, inputs: Floats) -> Floats:
        return self.features.compute(inputs.copy())


def feature_checks(features: FeatureKind) -> list[Check]:
    """The suite."""
    return checks(Derived(features), OF_FEATURES)


def it_reads_columns_that_there_are(subject: Derived) -> None:
    unknown = set(subject.features.reads) - set(COLUMNS)
    require(not unknown, f"it reads {', '.join(sorted(unknown))}, which no feature set has")
    require(subject.features.reads, "it reads nothing")


def its_columns_have_names_and_formulas(subject: Derived) -> None:
    formulas = subject.features.formulas
    require(formulas, "it has no columns")
    for column, formula in formulas.items():
        require(column.isidentifier() and column.islower(), f"{column!r} is no name of a column")
        require(formula.strip(), f"{column} has no formula")


def values_have_a_row_for_each_row(subject: Derived) -> None:
    for rows in (len(subject.inputs), 1, 0):
        output = subject.compute(subject.inputs[:rows])
        shape = (rows, len(subject.features.formulas))
        require(output.shape == shape, f"{output.shape} of {rows} rows, not {shape}")
        require(output.dtype == np.float64, f"values are {output.dtype}, not float64")


def warm_rows_are_known(subject: Derived) -> None:
    """Where everything that it reads is known, so is something of each column."""
    warm = np.isfinite(subject.inputs).all(axis=1)
    known = np.isfinite(subject.compute(subject.inputs[warm]))
    names = [
        name for name, of in zip(subject.features.formulas, known.T, strict=True) if not of.any()
    ]
    require(not names, f"{', '.join(names)} is never known")


def the_rows_are_not_changed(subject: Derived) -> None:
    inputs = subject.inputs.copy()
    subject.features.compute(inputs)
    require(np.array_equal(inputs, subject.inputs, equal_nan=True), "the rows were changed")


def truncation_changes_nothing(subject: Derived) -> None:
    """A row is the same without all that came later, and without all that came before."""
    whole = subject.compute(subject.inputs)
    for at in (1, len(whole) // 2, len(whole) - 1):
        head, tail = subject.compute(subject.inputs[:at]), subject.compute(subject.inputs[at:])
        same = np.array_equal(np.vstack((head, tail)), whole, equal_nan=True)
        require(same, f"rows before or after {at} are another without the rest")


def a_shock_of_the_future_changes_nothing_before_it(subject: Derived) -> None:
    at = len(subject.inputs) // 2
    shocked = subject.inputs.copy()
    shocked[at:] *= 10.0
    before = subject.compute(subject.inputs)[:at]
    same = np.array_equal(subject.compute(shocked)[:at], before, equal_nan=True)
    require(same, "rows before a shock are others")


def a_row_is_computed_alone_as_among_others(subject: Derived) -> None:
    some = subject.inputs[::97]
    together = subject.compute(some)
    alone = np.vstack([subject.compute(row[None]) for row in some])
    require(np.array_equal(alone, together, equal_nan=True), "a row depends on those beside it")


def the_order_of_calls_does_not_matter(subject: Derived) -> None:
    first = subject.compute(subject.inputs)
    subject.compute(-1e6 * np.ones_like(subject.inputs))
    again = subject.compute(subject.inputs)
    require(np.array_equal(first, again, equal_nan=True), "a second call gives something else")


def nothing_is_made_of_nothing(subject: Derived) -> None:
    output = subject.compute(np.full((3, subject.inputs.shape[1]), np.nan))
    require(np.isnan(output).all(), "a value of a row of which nothing is known")


def no_value_is_infinite(subject: Derived) -> None:
    """Of rows in which values are 0, huge or unknown."""
    rng = np.random.default_rng(2)
    inputs = subject.inputs[:500].copy()
    odd = rng.random(inputs.shape)
    inputs[odd < 0.1] = 0.0
    inputs[(odd > 0.1) & (odd < 0.2)] = 1e12
    inputs[(odd > 0.2) & (odd < 0.3)] = -1e12
    inputs[(odd > 0.3) & (odd < 0.4)] = np.nan
    require(not np.isinf(subject.compute(inputs)).any(), "an infinite value")


def noise_is_not_foretold(subject: Derived) -> None:
    """The next step of a random walk has nothing to do with any column."""
    output, following = subject.compute(subject.inputs), walk()[1]
    for column, values in zip(subject.features.formulas, output.T, strict=True):
        known = np.isfinite(values)
        if known.sum() < CANDLES or values[known].std() == 0.0:
            continue
        found = np.corrcoef(values[known], following[known])[0, 1]
        limit = NEAR / np.sqrt(known.sum())
        require(abs(found) <= limit, f"{column} foretells a random walk: {found:.2f}")


OF_FEATURES: Final[tuple[Callable[[Derived], None], ...]] = (
    it_reads_columns_that_there_are,
    its_columns_have_names_and_formulas,
    values_have_a_row_for_each_row,
    warm_rows_are_known,
    the_rows_are_not_changed,
    truncation_changes_nothing,
    a_shock_of_the_future_changes_nothing_before_it,
    a_row_is_computed_alone_as_among_others,
    the_order_of_calls_does_not_matter,
    nothing_is_made_of_nothing,
    no_value_is_infinite,
    noise_is_not_foretold,
)
