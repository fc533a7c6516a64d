"""Multinomial logistic regression: fitted by scikit-learn, evaluated by numpy."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from domain.events import Examples, Floats, Target
from services.models.explanation import Explanation, LinearMap
from services.models.forecaster import FittedForecaster, Forecaster, Table
from services.models.kinds import Fitted
from services.models.recipes import Recipe
from services.models.sample import CLASS_VALUES, Sample, medians, sample_weights, softmax
from services.models.space import Range

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
    space: Mapping[str, Range] = field(
        default_factory=lambda: {"l2": Range(low=1.0, high=10_000.0, log=True, least=1e-6)}
    )

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
    return Fitted(numbers=fit_softmax(sample, CLASS_VALUES, recipe.parameters["l2"]))


def fit_softmax(sample: Sample, classes: Floats, l2: float) -> dict[str, Any]:
    """What `Softmax` reads: a regression of a usable sample's answers, which are of `classes`."""
    centre = medians(sample.inputs)
    filled = np.where(np.isfinite(sample.inputs), sample.inputs, centre)
    mean = filled.mean(axis=0)
    deviation = filled.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    scaled = Sample(((filled - mean) / scale).clip(-CLIP, CLIP), sample.answers, sample.weights)
    scaled = scaled.with_every_class(np.zeros(filled.shape[1]), classes)
    regression = importlib.import_module("sklearn.linear_model").LogisticRegression(
        C=1 / l2, max_iter=ITERATIONS
    )
    regression.fit(scaled.inputs, scaled.answers, sample_weight=scaled.weights)
    slopes, levels = regression.coef_, regression.intercept_
    if len(slopes) < len(classes):  # of two, the library has the second's against the first
        slopes, levels = np.vstack((np.zeros_like(slopes), slopes)), np.append(0.0, levels)
    return {
        "medians": centre.tolist(),
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "coefficients": slopes.tolist(),
        "intercepts": levels.tolist(),
    }


class Softmax:
    """Softmax of a linear map of standardised inputs; NaN where nothing is known."""

    def __init__(self, numbers: Mapping[str, Any]) -> None:
        self._medians = np.array(numbers["medians"])
        self._mean = np.array(numbers["mean"])
        self._scale = np.array(numbers["scale"])
        self.coefficients = np.array(numbers["coefficients"])
        self.intercepts = np.array(numbers["intercepts"])

    def probabilities(self, inputs: Floats) -> Floats:
        """Of inputs (n, k), shape (n, classes)."""
        scores = self.scaled(inputs) @ self.coefficients.T + self.intercepts
        known = np.isfinite(inputs).any(axis=1, keepdims=True)
        return np.where(known, softmax(scores), np.nan)

    def scaled(self, inputs: Floats) -> Floats:
        """In standard deviations from the mean; an unknown value is the median."""
        filled = np.where(np.isfinite(inputs), inputs, self._medians)
        scaled: Floats = ((filled - self._mean) / self._scale).clip(-CLIP, CLIP)
        return scaled


class Logistic(FittedForecaster):
    """The softmax regression of the outcome."""

    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        super().__init__(description, version)
        self._softmax = Softmax(description)

    def forecast(self, table: Table) -> Floats:
        return self._softmax.probabilities(table.select(self._columns))

    def explain(self, table: Table) -> Explanation:
        inputs, fitted = table.select(self._columns), self._softmax
        linear = LinearMap(
            features=self._columns, slopes=fitted.coefficients, levels=fitted.intercepts
        )
        return linear.explain(self.target, inputs, fitted.scaled(inputs))
