"""The floors that every model must beat: class prior, EWMA volatility, empirical quantiles."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from domain.events import QUANTILE_LEVELS, Examples, Floats, Ints, Target
from services.models.forecaster import Forecaster, Table
from services.models.recursion import RefitSchedule, added
from services.models.state import read_state, write_state

MINIMUM_LABELS = 50
GAUSSIAN = np.array([NormalDist().inv_cdf(level) for level in QUANTILE_LEVELS])


class ClassPrior(Forecaster):
    """Matured class frequencies, pooled over instruments, expanding, Laplace +1.

    A third each before 50 labels. Labels of weight 0 count: they are scored too.
    """

    def __init__(self, *, horizon: int, version: str = "1") -> None:
        super().__init__(
            kind="class_prior", target=Target.DIRECTION, horizon=horizon, version=version
        )
        self._counts: Ints = np.zeros(3, dtype=np.int64)

    def forecast(self, table: Table) -> Floats:
        return np.tile(self._probabilities(), (len(table), 1))

    def learn(self, examples: Examples) -> None:
        outcome = examples.outcome[np.isfinite(examples.outcome)]
        self._counts = self._counts + np.bincount(outcome.astype(np.int64) + 1, minlength=3)

    def snapshot(self) -> bytes:
        return write_state(self.name, self.horizon, {"counts": self._counts.tolist()})

    def restore(self, state: bytes) -> None:
        content = read_state(state, self.name, self.horizon)
        self._counts = np.array(content["counts"], dtype=np.int64)

    def _probabilities(self) -> Floats:
        total = int(self._counts.sum())
        if total < MINIMUM_LABELS:
            return np.full(3, 1 / 3)
        frequencies: Floats = (self._counts + 1) / (total + 3)
        return frequencies


class Ewma(Forecaster):
    """√(EWMA variance × horizon × scale).

    The scale is the ratio of the mean squared realised volatility to the mean of
    EWMA variance × horizon over all matured rows, by `RefitSchedule`; 1 before.
    """

    def __init__(self, *, horizon: int, version: str = "1") -> None:
        super().__init__(kind="ewma", target=Target.VOLATILITY, horizon=horizon, version=version)
        self._sums: Floats = np.zeros(2)  # realised variance, forecast variance
        self._scale = 1.0
        self._schedule = RefitSchedule()

    def forecast(self, table: Table) -> Floats:
        sigma: Floats = table.ewma_sigma(self.horizon) * np.sqrt(self._scale)
        return sigma

    def learn(self, examples: Examples) -> None:
        pairs = np.column_stack(
            (examples.realized_volatility, Table.of(examples).ewma_sigma(self.horizon))
        )
        known = np.isfinite(pairs).all(axis=1)
        squares = pairs[known] ** 2
        for span, due in self._schedule.spans(examples.known_ms[known]):
            self._sums = added(self._sums, squares[span])
            if due and self._sums.min() > 0:
                self._scale = float(self._sums[0] / self._sums[1])

    def snapshot(self) -> bytes:
        content = {
            "sums": self._sums.tolist(),
            "scale": self._scale,
            "schedule": self._schedule.state(),
        }
        return write_state(self.name, self.horizon, content)

    def restore(self, state: bytes) -> None:
        content = read_state(state, self.name, self.horizon)
        self._sums = np.array(content["sums"])
        self._scale = content["scale"]
        self._schedule = RefitSchedule(**content["schedule"])


class EmpiricalQuantiles(Forecaster):
    """Quantiles of log return / EWMA-σ over all matured rows, pooled, × EWMA-σ.

    Gaussian quantiles before 50 rows, by definition. The returns are counted in bins of
    0.005 σ up to ±25 σ (further ones in the last bin) with linear interpolation inside
    a bin, so that the state stays small and does not depend on the order.
    """

    WIDTH = 0.005
    LIMIT = 25.0

    def __init__(self, *, horizon: int, version: str = "1") -> None:
        super().__init__(
            kind="empirical", target=Target.QUANTILES, horizon=horizon, version=version
        )
        self._counts: Ints = np.zeros(round(2 * self.LIMIT / self.WIDTH), dtype=np.int64)
        self._standardised: Floats = GAUSSIAN

    def forecast(self, table: Table) -> Floats:
        return table.ewma_sigma(self.horizon)[:, None] * self._standardised

    def learn(self, examples: Examples) -> None:
        ratio = examples.log_return / Table.of(examples).ewma_sigma(self.horizon)
        ratio = ratio[np.isfinite(ratio)]
        bins = np.floor((ratio + self.LIMIT) / self.WIDTH).clip(0, len(self._counts) - 1)
        np.add.at(self._counts, bins.astype(np.int64), 1)
        self._standardised = self._quantiles()

    def snapshot(self) -> bytes:
        filled = np.flatnonzero(self._counts)
        content = {"bins": filled.tolist(), "counts": self._counts[filled].tolist()}
        return write_state(self.name, self.horizon, content)

    def restore(self, state: bytes) -> None:
        content = read_state(state, self.name, self.horizon)
        self._counts = np.zeros_like(self._counts)
        self._counts[np.array(content["bins"], dtype=np.int64)] = content["counts"]
        self._standardised = self._quantiles()

    def _quantiles(self) -> Floats:
        below = np.cumsum(self._counts)
        if below[-1] < MINIMUM_LABELS:
            return GAUSSIAN
        wanted = np.array(QUANTILE_LEVELS) * below[-1]
        bins = np.searchsorted(below, wanted)
        inside = 1 - (below[bins] - wanted) / self._counts[bins]
        quantiles: Floats = (bins + inside) * self.WIDTH - self.LIMIT
        return quantiles
