"""The model that learns from each label as it becomes known: softmax regression by River."""

from __future__ import annotations

import math
from operator import mul
from typing import Any

import numpy as np

from domain.errors import ArtifactError
from domain.events import Examples, Floats, Target
from services.models.forecaster import Forecaster, Table
from services.models.libraries import load_library
from services.models.sample import softmax
from services.models.state import read_state, write_state

load_library("river.preprocessing")  # which else brings scikit-learn with it
from river import compose, linear_model, optim, preprocessing  # noqa: E402

CLASSES = (-1, 0, 1)
CLIP = 5.0  # standard deviations
INTERCEPT = "intercept"
# Steps of 0.02 / √n: the noise of a constant step would cost more than direction has to give.
FIRST_STEP = 0.02
DECAY = 0.5


def bounded(scaled: dict[str, float]) -> dict[str, float]:
    """Clip at ±5 standard deviations and add the constant that River's softmax lacks."""
    inputs = {
        name: value if -CLIP < value < CLIP else math.copysign(CLIP, value)
        for name, value in scaled.items()
    }
    inputs[INTERCEPT] = 1.0
    return inputs


class Softmax(linear_model.SoftmaxRegression):
    """River's regression with SGD, its steps taken a class at a time instead of a weight.

    The same sums in the same order. Inputs come in the order of the weights, without l2.
    """

    def learn_one(self, x: Any, y: Any) -> None:  # noqa: ANN401 - River's signature
        values = list(x.values())
        scores = [sum(map(mul, weights.values(), values)) for weights in self.weights.values()]
        highest = max(scores)
        grown = [math.exp(score - highest) for score in scores]
        total = sum(grown)
        for (label, weights), each in zip(self.weights.items(), grown, strict=True):
            optimizer = self.optimizers[label]
            slope = optim.losses.clamp_proba(each / total) - (y == label)
            rate = optimizer.learning_rate
            steps = [
                weight - rate * (value * slope)
                for weight, value in zip(weights.values(), values, strict=True)
            ]
            weights.update(zip(weights, steps, strict=True))
            optimizer.n_iterations += 1


class RiverSoftmax(Forecaster):
    """StandardScaler | clip | SoftmaxRegression over `columns`, one example at a time.

    An example with an unknown feature is not learnt and counted in `skipped`: one NaN
    would stay in River's weights for good. Neither is one of weight 0 or without outcome.
    Forecasts are River's, computed by numpy; NaN where a feature is unknown, a third each
    before anything is learnt.
    """

    def __init__(self, columns: tuple[str, ...], *, horizon: int, version: str = "1") -> None:
        super().__init__(kind="river", target=Target.DIRECTION, horizon=horizon, version=version)
        self.columns = columns
        self.learnt = 0
        self.skipped = 0
        self._scaler: Any = preprocessing.StandardScaler()
        schedule = optim.schedulers.InverseScaling(FIRST_STEP, DECAY)
        self._regression = Softmax(optimizer=optim.SGD(schedule))
        for value in CLASSES:  # so that every class has a probability from the start
            self._regression.weights[value].update(dict.fromkeys((*columns, INTERCEPT), 0.0))
        self.pipeline = self._scaler | compose.FuncTransformer(bounded) | self._regression
        self._mean: Floats = np.zeros(len(columns))
        self._deviation: Floats = np.zeros(len(columns))
        self._weights: Floats = np.zeros((len(CLASSES), len(columns) + 1))

    def forecast(self, table: Table) -> Floats:
        inputs = table.select(self.columns)
        scaled = np.zeros_like(inputs)
        np.divide(inputs - self._mean, self._deviation, out=scaled, where=self._deviation > 0)
        scores = scaled.clip(-CLIP, CLIP) @ self._weights[:, :-1].T + self._weights[:, -1]
        unknown = np.isnan(inputs).any(axis=1, keepdims=True)
        return np.where(unknown, np.nan, softmax(scores))

    def learn(self, examples: Examples) -> None:
        inputs = Table.of(examples).select(self.columns)
        wanted = np.isfinite(examples.outcome) & (examples.weight > 0)
        known = np.isfinite(inputs).all(axis=1)
        self.skipped += int((wanted & ~known).sum())
        for row in np.flatnonzero(wanted & known):
            features = dict(zip(self.columns, inputs[row].tolist(), strict=True))
            # As the pipeline does, without its bookkeeping.
            self._scaler.learn_one(features)
            scaled = bounded(self._scaler.transform_one(features))
            self._regression.learn_one(scaled, int(examples.outcome[row]))
            self.learnt += 1
        self._read_river()

    def snapshot(self) -> bytes:
        scaler, regression = self._scaler, self._regression
        content = {
            "columns": self.columns,
            "learnt": self.learnt,
            "skipped": self.skipped,
            "mean": [scaler.means[name] for name in self.columns],
            "variance": [scaler.vars[name] for name in self.columns],
            "weights": [list(regression.weights[value].values()) for value in CLASSES],
            "steps": [regression.optimizers[value].n_iterations for value in CLASSES],
        }
        return write_state(self.name, self.horizon, content)

    def restore(self, state: bytes) -> None:
        content = read_state(state, self.name, self.horizon)
        if tuple(content["columns"]) != self.columns:
            raise ArtifactError(f"the state of {self.name} was learnt from other columns")
        self.learnt, self.skipped = content["learnt"], content["skipped"]
        scaler, regression = self._scaler, self._regression
        for position, name in enumerate(self.columns):
            scaler.counts[name] = self.learnt
            scaler.means[name] = content["mean"][position]
            scaler.vars[name] = content["variance"][position]
        for position, value in enumerate(CLASSES):
            names = (*self.columns, INTERCEPT)
            weights = zip(names, content["weights"][position], strict=True)
            regression.weights[value].update(weights)
            regression.optimizers[value].n_iterations = content["steps"][position]
        self._read_river()

    def _read_river(self) -> None:
        scaler, regression = self._scaler, self._regression
        self._mean = np.array([scaler.means[name] for name in self.columns])
        self._deviation = np.sqrt([scaler.vars[name] for name in self.columns])
        self._weights = np.array([list(regression.weights[value].values()) for value in CLASSES])
