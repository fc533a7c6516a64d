"""A model: Gaussian naive Bayes for direction, fitted and evaluated by numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.events import Examples, Floats, Target
from services.models.forecaster import FittedForecaster, Forecaster, Table
from services.models.kinds import Fitted
from services.models.recipes import Recipe
from services.models.sample import CLASS_VALUES, Sample, sample_weights, softmax

CLIP: Final = 3.0  # standard deviations
SMALLEST: Final = 1e-9  # a column that moves less is constant


@dataclass(frozen=True)
class NaiveBayesKind:
    """A column is taken as Gaussian within each class; one that is unknown says nothing.

    Columns that say the same would be counted as often as they are there: the sum of their
    log-likelihoods is scaled by `share` (1 / their number would be their mean).
    """

    name: str = "naive_bayes"
    recipes: tuple[Recipe, ...] = (
        Recipe(kind="naive_bayes", target=Target.DIRECTION, parameters={"share": 0.1}),
    )
    distributions: tuple[str, ...] = ()

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        del horizon, seed  # the outcome has the one, nothing is drawn by the other
        inputs = Table.of(examples).select(columns)  # what is infinite or beyond 1e12 is NaN
        sample = Sample(inputs, examples.outcome, sample_weights(examples)).usable()
        pooled = _moments(sample.inputs, sample.weights)
        scaled = _standardised(sample.inputs, *pooled)
        within = [
            _moments(scaled[sample.answers == value], sample.weights[sample.answers == value])
            for value in CLASS_VALUES
        ]
        seen = np.array([sample.weights[sample.answers == value].sum() for value in CLASS_VALUES])
        prior = (seen + 1.0) / (seen.sum() + len(CLASS_VALUES))  # Laplace +1
        return Fitted(
            numbers={
                "share": recipe.parameters["share"],
                "mean": pooled[0].tolist(),
                "deviation": pooled[1].tolist(),
                "prior": np.log(prior).tolist(),
                "means": [mean.tolist() for mean, _ in within],
                "deviations": [deviation.tolist() for _, deviation in within],
            }
        )

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        del files  # there are none
        return NaiveBayes(description, version)


class NaiveBayes(FittedForecaster):
    """Class probabilities; NaN where no feature is known."""

    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        super().__init__(description, version)
        self._pooled = np.array(description["mean"]), np.array(description["deviation"])
        self._prior = np.array(description["prior"])
        self._means = np.array(description["means"])  # (3, k)
        self._deviations = np.array(description["deviations"])
        self._share = float(description["share"])

    def forecast(self, table: Table) -> Floats:
        inputs = table.select(self._columns)
        known = np.isfinite(inputs)
        scaled = _standardised(inputs, *self._pooled)[:, None, :]
        distance = (scaled - self._means) / self._deviations
        likelihood = -0.5 * distance**2 - np.log(self._deviations)
        said = np.where(known[:, None, :], likelihood, 0.0).sum(axis=2)
        chances = softmax(self._prior + self._share * said)
        return np.where(known.any(axis=1, keepdims=True), chances, np.nan)


def _moments(inputs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, shape (k,); 0 and 1 where there are none."""
    known = np.isfinite(inputs)
    part = np.where(known, weights[:, None], 0.0)
    total = part.sum(axis=0)
    filled = np.where(known, inputs, 0.0)
    mean = np.divide((part * filled).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    spread = (part * (filled - mean) ** 2).sum(axis=0)
    variance = np.divide(spread, total, out=np.ones_like(total), where=total > 0)
    deviation = np.sqrt(variance)
    return mean, np.where(deviation > SMALLEST, deviation, 1.0)


def _standardised(inputs: Floats, mean: Floats, deviation: Floats) -> Floats:
    return np.asarray(((inputs - mean) / deviation).clip(-CLIP, CLIP))


KIND: Final = NaiveBayesKind()
