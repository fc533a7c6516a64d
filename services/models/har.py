"""Log-HAR: the volatility ahead from the volatility of the last hour, day and week."""

from __future__ import annotations

import numpy as np

from domain.events import Examples, Floats, Target
from services.models.forecaster import Forecaster, Table
from services.models.recursion import RefitSchedule, added
from services.models.state import read_state, write_state

GARMAN_KLASS = tuple(f"gk_variance_{candles}" for candles in (1, 4, 24, 168))
FLOOR = 1e-9  # squared realised volatilities at or below it are not scored (QLIKE)
SIZE = len(GARMAN_KLASS) + 1


def har_regressors(table: Table) -> Floats:
    """1 and the logs of the Garman-Klass variances, shape (n, 5); NaN unless above 0."""
    variances = table.select(GARMAN_KLASS)
    logs = np.log(np.where(variances > 0, variances, np.nan))
    return np.column_stack((np.ones(len(table)), logs))


def solve(gram: Floats, moment: Floats) -> Floats:
    """Least squares from normal equations; regressors that say the same share the weight."""
    return np.asarray(np.linalg.lstsq(gram, moment, rcond=1e-12)[0], dtype=np.float64)


class Har(Forecaster):
    """Pooled log-HAR on Garman-Klass variances (Corsi 2009), recursive, expanding.

    ln rv² is regressed on the logs over 1, 4, 24 and 168 candles by `RefitSchedule`; NaN
    before its first estimate. The forecast of rv² is exp(fit) × the mean of rv² / the mean
    of exp(fit), both over all matured rows, each row with the coefficients in force when
    it matured and the first 500 with those that they gave.
    """

    def __init__(self, *, horizon: int, version: str = "1") -> None:
        super().__init__(kind="har", target=Target.VOLATILITY, horizon=horizon, version=version)
        self._equations: Floats = np.zeros((SIZE, SIZE + 1))  # XᵀX | Xᵀy
        self._means: Floats = np.zeros(2)  # sums of rv² and of exp(fit)
        self._coefficients: Floats = np.full(SIZE, np.nan)
        self._bias = np.nan
        self._first: list[list[float]] = []  # rows before the first estimate: x, ln rv²
        self._schedule = RefitSchedule()

    def forecast(self, table: Table) -> Floats:
        fit = har_regressors(table) @ self._coefficients
        return np.sqrt(np.exp(fit) * self._bias)

    def learn(self, examples: Examples) -> None:
        variance = examples.realized_volatility**2
        logs = np.log(np.where(variance > FLOOR, variance, np.nan))
        rows = np.column_stack((har_regressors(Table.of(examples)), logs))
        known = np.isfinite(rows).all(axis=1)
        rows = rows[known]
        for span, due in self._schedule.spans(examples.known_ms[known]):
            self._absorb(rows[span])
            if due:
                self._estimate()

    def snapshot(self) -> bytes:
        content = {
            "equations": self._equations.tolist(),
            "means": self._means.tolist(),
            "coefficients": self._coefficients.tolist(),
            "bias": self._bias,
            "first": self._first,
            "schedule": self._schedule.state(),
        }
        return write_state(self.name, self.horizon, content)

    def restore(self, state: bytes) -> None:
        content = read_state(state, self.name, self.horizon)
        self._equations = np.array(content["equations"])
        self._means = np.array(content["means"])
        self._coefficients = np.array(content["coefficients"])
        self._bias = content["bias"]
        self._first = content["first"]
        self._schedule = RefitSchedule(**content["schedule"])

    def _absorb(self, rows: Floats) -> None:
        self._equations = added(self._equations, rows[:, :SIZE, None] * rows[:, None, :])
        if np.isnan(self._bias):
            self._first.extend(rows.tolist())
        else:
            self._means = added(self._means, self._variances(rows))

    def _estimate(self) -> None:
        self._coefficients = solve(self._equations[:, :SIZE], self._equations[:, SIZE])
        if self._first:
            self._means = added(self._means, self._variances(np.array(self._first)))
            self._first = []
        self._bias = float(self._means[0] / self._means[1])

    def _variances(self, rows: Floats) -> Floats:
        """Squared volatilities, realised and fitted, shape (n, 2)."""
        # Row by row: a matrix product may round differently in batches of another size.
        fit = (rows[:, :SIZE] * self._coefficients).sum(axis=1)
        variances: Floats = np.exp(np.column_stack((rows[:, SIZE], fit)))
        return variances
