"""Multinomial logistic regression: fitted by scikit-learn, evaluated by numpy."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.events import Examples, Floats, Target
from services.models.explanation import Explanation, LinearMap
from services.models.forecaster import FittedForecaster, Forecaster, Table
from services.models.kinds import Fitted
from services.models.recipes import Recipe
from services.models.sample import Sample, medians, sample_weights, softmax

CLIP = 5.0  # standard deviations
ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class LogisticKind:
    """The softmax regression of this release; `l2` is the precision of the weights' prior."""

    name: str = "logistic"
    recipes: tuple[Recipe, ...] = (
        Recipe(kind="logistic", target=Target.DIRECTION, parameters={"l2": 100.0}),
    )
    distributions: tuple[str, ...] = ("scikit-learn",)

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        del horizon, seed  # nothing depends on them
        return fit_logistic(examples, columns, recipe)

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        del files
        return Logistic(description, version)


LOGISTIC: Final = LogisticKind()


def fit_logistic(examples: Examples, columns: tuple[str, ...], recipe: Recipe) -> Fitted:
    """Fit on standardised `columns`; an unknown value is the median of the training rows."""
    inputs = Table.of(examples).select(columns)
    sample = Sample(inputs, examples.outcome, sample_weights(examples)).usable()
    centre = medians(sample.inputs)
    filled = np.where(np.isfinite(sample.inputs), sample.inputs, centre)
    mean = filled.mean(axis=0)
    deviation = filled.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    scaled = Sample(((filled - mean) / scale).clip(-CLIP, CLIP), sample.answers, sample.weights)
    scaled = scaled.with_every_class(np.zeros(len(columns)))
    regression = importlib.import_module("sklearn.linear_model").LogisticRegression(
        C=1 / recipe.parameters["l2"], max_iter=ITERATIONS
    )
    regression.fit(scaled.inputs, scaled.answers, sample_weight=scaled.weights)
    numbers = {
        "medians": centre.tolist(),
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "coefficients": regression.coef_.tolist(),
        "intercepts": regression.intercept_.tolist(),
    }
    return Fitted(numbers=numbers)


class Logistic(FittedForecaster):
    """Softmax of a linear map of the standardised features; NaN where nothing is known."""

    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        super().__init__(description, version)
        self._medians = np.array(description["medians"])
        self._mean = np.array(description["mean"])
        self._scale = np.array(description["scale"])
        self._coefficients = np.array(description["coefficients"])
        self._intercepts = np.array(description["intercepts"])

    def forecast(self, table: Table) -> Floats:
        inputs = table.select(self._columns)
        scores = self._scaled(inputs) @ self._coefficients.T + self._intercepts
        known = np.isfinite(inputs).any(axis=1, keepdims=True)
        return np.where(known, softmax(scores), np.nan)

    def explain(self, table: Table) -> Explanation:
        inputs = table.select(self._columns)
        linear = LinearMap(
            features=self._columns, slopes=self._coefficients, levels=self._intercepts
        )
        return linear.explain(self.target, inputs, self._scaled(inputs))

    def _scaled(self, inputs: Floats) -> Floats:
        """In standard deviations from the mean; an unknown value is the median."""
        filled = np.where(np.isfinite(inputs), inputs, self._medians)
        scaled: Floats = ((filled - self._mean) / self._scale).clip(-CLIP, CLIP)
        return scaled
