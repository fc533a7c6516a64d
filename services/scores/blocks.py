"""Loss differences in blocks of time, and what can be said of their mean.

Labels overlap, and instruments move together; so losses are pooled over instruments by date
first, then averaged over blocks of twice the horizon, and a block is one observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from domain.events import Bools, Floats, Ints
from domain.market import Horizon

HORIZONS_PER_BLOCK = 2
WINSOR = 0.01  # of the differences, on each side


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dates:
    """Losses of several forecasters on the same close times and instruments.

    Column 0 is what the others are compared with. NaN: that forecaster said nothing then.
    """

    as_of_ms: Ints  # (m,)
    losses: Floats  # (m, k) means over the instruments that all of them judged
    counts: Ints  # (m,) of those instruments


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """Means of `Dates` over blocks, oldest first."""

    numbers: Ints  # (b,) of the block on the grid of time that begins with the epoch
    losses: Floats  # (b, k)
    counts: Ints  # (b,) rows

    def where(self, rows: Bools) -> Blocks:
        return Blocks(
            numbers=self.numbers[rows], losses=self.losses[rows], counts=self.counts[rows]
        )

    def newest(self, n: int) -> Blocks:
        return self.where(np.arange(len(self.numbers)) >= len(self.numbers) - n)

    def then(self, later: Blocks) -> Blocks:
        """These, followed by `later` ones of the same forecasters."""
        return Blocks(
            numbers=np.concatenate([self.numbers, later.numbers]),
            losses=np.concatenate([self.losses, later.losses]),
            counts=np.concatenate([self.counts, later.counts]),
        )


def no_blocks(columns: int) -> Blocks:
    none = np.empty(0, dtype=np.int64)
    return Blocks(numbers=none, losses=np.empty((0, columns)), counts=none)


def block_ms(horizon: Horizon) -> int:
    return HORIZONS_PER_BLOCK * horizon.steps * horizon.timeframe.ms


def block_means(dates: Dates, horizon: Horizon) -> Blocks:
    """Means per block; a block with less than half of its close times is left out.

    Within a block, forecasters are compared on the dates that all of those present judged.
    """
    numbers, which = np.unique(dates.as_of_ms // block_ms(horizon), return_inverse=True)
    known = np.isfinite(dates.losses)
    present = np.stack([_sums(which, column, len(numbers)) > 0 for column in known.T], axis=1)
    paired = (known | ~present[which]).all(axis=1)
    of = which[paired]
    values = np.where(known, dates.losses, 0.0)[paired]
    sums = np.stack([_sums(of, column, len(numbers)) for column in values.T], axis=1)
    dated = np.bincount(of, minlength=len(numbers))
    rows = _sums(of, dates.counts[paired], len(numbers))
    full = 2 * dated >= HORIZONS_PER_BLOCK * horizon.steps
    means = np.where(present, sums, np.nan)[full] / dated[full, None]
    return Blocks(numbers=numbers[full], losses=means, counts=rows[full].astype(np.int64))


def _sums(which: Ints, values: Floats | Ints | Bools, n: int) -> Floats:
    sums: Floats = np.bincount(which, weights=values, minlength=n).astype(np.float64)
    return sums


def winsorised(values: Floats) -> Floats:
    """`values` with the lowest and the highest hundredth drawn in to the next; none below 100."""
    if not len(values):
        return values
    tail = int(WINSOR * len(values))
    ordered = np.sort(values)
    return np.clip(values, ordered[tail], ordered[len(values) - 1 - tail])


@dataclass(frozen=True, slots=True)
class BlockTest:
    """Student's t of a mean of blocks."""

    mean: float
    error: float  # standard error of the mean
    count: int

    def p_above(self) -> float:
        """Chance of a mean at least this large if the truth is 0; 1 where it cannot be said."""
        if self.count < 2:  # noqa: PLR2004 - one block has no standard error
            return 1.0
        if self.error == 0.0:
            return 0.0 if self.mean > 0.0 else 1.0
        return float(stdtr(self.count - 1, -self.mean / self.error))

    def p_below(self) -> float:
        """The same for a mean at least this small."""
        return BlockTest(-self.mean, self.error, self.count).p_above()

    def bounds(self, confidence: float) -> tuple[float, float]:
        """The lower and the upper one-sided bound, each at `confidence`; infinite if unknown."""
        if self.count < 2:  # noqa: PLR2004 - one block has no standard error
            return -math.inf, math.inf
        reach = float(stdtrit(self.count - 1, confidence)) * self.error
        return self.mean - reach, self.mean + reach


def block_test(values: Floats, least_correlation: float = 0.0) -> BlockTest:
    """The t test of a series of block means.

    The standard error counts the correlation of neighbouring blocks: losses of overlapping
    labels reach one block further and no more, and a test blind to that is too sure.

    Args:
        values: (b,) oldest first.
        least_correlation: of neighbouring blocks, used where the one measured is smaller.
    """
    n = len(values)
    if n < 2:  # noqa: PLR2004 - one block has no standard error
        return BlockTest(float(values.mean()) if n else math.nan, math.nan, n)
    mean = float(values.mean())
    around = values - mean
    variance = float(around @ around) / (n - 1)
    neighbour = float(around[1:] @ around[:-1]) / (n - 1)
    neighbour = max(neighbour, least_correlation * variance)
    return BlockTest(mean, math.sqrt((variance + 2.0 * neighbour) / n), n)
