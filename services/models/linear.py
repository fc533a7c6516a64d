"""Plug-ins of this release: ridge and elastic net on ranks within the cross-section."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.events import Examples, Floats, Target
from services.models.boosted import explain_volatility, volatility_regressors
from services.models.explanation import Explanation, LinearMap
from services.models.forecaster import FittedForecaster, Forecaster, Table
from services.models.kinds import Fitted
from services.models.recipes import Recipe
from services.models.sample import Sample, sample_weights, softmax

RANK: Final = "_rank"  # in the names of columns that are ranks, 0–1
ITERATIONS: Final = 200


@dataclass(frozen=True, slots=True)
class LinearKind:
    """A penalised linear map of ranks, for two targets.

    Volatility: it explains what a log-HAR with EWMA leaves of ln rv². Direction: it is
    regressed on the outcome (−1, 0, +1), and a softmax regression makes probabilities of its
    value alone. An unknown rank counts as the middle of the cross-section.
    """

    name: str
    regression: str  # class of sklearn.linear_model
    parameters: Mapping[str, Any]  # of the class
    distributions: tuple[str, ...] = ("scikit-learn",)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        return tuple(
            Recipe(kind=self.name, target=target, parameters=self.parameters)
            for target in (Target.VOLATILITY, Target.DIRECTION)
        )

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        """Fit those of `columns` that are ranks.

        Raises:
            ValueError: no row can be used, or no column.
        """
        del horizon, seed  # nothing depends on them
        names = tuple(name for name in columns if RANK in name)
        if not names:
            raise ValueError(f"no column is a rank: none has {RANK} in its name")
        if recipe.target is Target.VOLATILITY:
            return self._fit_volatility(examples, names, recipe)
        return self._fit_direction(examples, names, recipe)

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        del files
        if Target(description["target"]) is Target.VOLATILITY:
            return RankedVolatility(description, version)
        return RankedDirection(description, version)

    def _fit_volatility(self, examples: Examples, names: tuple[str, ...], recipe: Recipe) -> Fitted:
        left = explain_volatility(examples)
        inputs = filled(Table.of(examples.take(left.rows)).select(names))
        slopes, level = self._regress(recipe, inputs, left.residual, left.weights)
        numbers = left.numbers(inputs @ slopes + level)
        return Fitted(numbers={**numbers, "ranks": names, "slopes": [*slopes], "level": level})

    def _fit_direction(self, examples: Examples, names: tuple[str, ...], recipe: Recipe) -> Fitted:
        table = Table.of(examples)
        sample = Sample(table.select(names), examples.outcome, sample_weights(examples)).usable()
        ranks = filled(sample.inputs)
        slopes, level = self._regress(recipe, ranks, sample.answers, sample.weights)
        score = Sample((ranks @ slopes + level)[:, None], sample.answers, sample.weights)
        score = score.with_every_class(np.array([level]))
        chances = importlib.import_module("sklearn.linear_model").LogisticRegression(
            max_iter=ITERATIONS
        )
        chances.fit(score.inputs, score.answers, sample_weight=score.weights)
        numbers = {
            "ranks": names,
            "slopes": [*slopes],
            "level": level,
            "coefficients": chances.coef_[:, 0].tolist(),
            "intercepts": chances.intercept_.tolist(),
        }
        return Fitted(numbers=numbers)

    def _regress(
        self, recipe: Recipe, inputs: Floats, answers: Floats, weights: Floats
    ) -> tuple[Floats, float]:
        made = getattr(importlib.import_module("sklearn.linear_model"), self.regression)
        fitted = made(**recipe.parameters).fit(inputs, answers, sample_weight=weights)
        return np.asarray(fitted.coef_, dtype=np.float64), float(fitted.intercept_)


def filled(ranks: Floats) -> Floats:
    """Ranks 0–1 from −½ to ½, shape (n, k); 0 where one is unknown."""
    return np.where(np.isfinite(ranks), ranks.clip(0.0, 1.0), 0.5) - 0.5


class Ranked(FittedForecaster):
    """A linear map of ranks."""

    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        super().__init__(description, version)
        self._ranks = tuple(description["ranks"])
        self._slopes = np.array(description["slopes"])
        self._level = float(description["level"])
        self._coefficients = np.array(description["coefficients"])

    def score(self, ranks: Floats) -> Floats:
        """Of ranks (n, k) as read, shape (n,)."""
        result: Floats = filled(ranks) @ self._slopes + self._level
        return result


class RankedVolatility(Ranked):
    """√(exp(log-HAR + ranks) × bias); NaN where EWMA or a HAR regressor is unknown."""

    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        super().__init__(description, version)
        self._bias = float(description["bias"])

    def forecast(self, table: Table) -> Floats:
        explained = volatility_regressors(table) @ self._coefficients
        logs = explained + self.score(table.select(self._ranks))
        sigma: Floats = np.sqrt(np.exp(logs) * self._bias)
        return sigma

    def explain(self, table: Table) -> Explanation:
        ranks = table.select(self._ranks)
        linear = LinearMap(
            features=self._ranks, slopes=self._slopes[None, :], levels=np.array([self._level])
        )
        reference = volatility_regressors(table) @ self._coefficients + np.log(self._bias)
        return linear.explain(self.target, ranks, filled(ranks), reference)


class RankedDirection(Ranked):
    """Softmax of the score of the ranks; NaN where no rank is known."""

    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        super().__init__(description, version)
        self._intercepts = np.array(description["intercepts"])

    def forecast(self, table: Table) -> Floats:
        ranks = table.select(self._ranks)
        known = np.isfinite(ranks).any(axis=1, keepdims=True)
        scores = self.score(ranks)[:, None] * self._coefficients + self._intercepts
        return np.where(known, softmax(scores), np.nan)

    def explain(self, table: Table) -> Explanation:
        ranks = table.select(self._ranks)
        linear = LinearMap(
            features=self._ranks,
            slopes=np.outer(self._coefficients, self._slopes),
            levels=self._level * self._coefficients + self._intercepts,
        )
        return linear.explain(self.target, ranks, filled(ranks))


# `alpha` of ridge is of sums over rows, that of elastic net of means.
RIDGE: Final = LinearKind("ridge", "Ridge", {"alpha": 100.0, "solver": "cholesky"})
ELASTIC_NET: Final = LinearKind("elastic_net", "ElasticNet", {"alpha": 1e-4, "l1_ratio": 0.5})
