"""Models of class labels: two recipes for each kind of label, and what a fit of one leaves."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from domain.errors import ArtifactError
from domain.events import FeatureBatch, Floats
from services.models.bundle import read_bundle, write_bundle
from services.models.engines import LightGBM, Task, TreeParameters
from services.models.forecaster import Table
from services.models.logistic import Softmax, fit_softmax
from services.models.sample import Sample, medians, softmax

_TREES: Final = "classes.txt"  # in an artifact
_REGRESSION: Final = "logistic"
_BOOSTER: Final = "lightgbm"
_DISTRIBUTIONS: Final = {_REGRESSION: "scikit-learn", _BOOSTER: "lightgbm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRecipe:
    """What a model of a kind of label is fitted with."""

    model: str  # logistic, lightgbm
    label: str  # `regime@1`
    classes: tuple[str, ...]
    parameters: Mapping[str, Any]  # JSON numbers

    @property
    def name(self) -> str:
        """As rows name it: `lightgbm.regime`."""
        return f"{self.model}.{self.label.partition('@')[0]}"

    @property
    def sha256(self) -> str:
        content = json.dumps(self.written(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def written(self) -> dict[str, Any]:
        """As the registry keeps it."""
        shape = {"kind": self.model, "label": self.label, "classes": [*self.classes]}
        return {**self.parameters, **shape}

    def environment(self) -> dict[str, str]:
        """The versions that a fit depends on."""
        names = ("numpy", _DISTRIBUTIONS[self.model])
        return {name: importlib.metadata.version(name) for name in names}


def recipes_of(label: str, classes: tuple[str, ...]) -> tuple[ClassRecipe, ...]:
    """The models that a kind of label has."""
    booster = asdict(TreeParameters(trees=70, learning_rate=0.08))
    del booster["device"]  # it has no choice
    return (
        ClassRecipe(model=_BOOSTER, label=label, classes=classes, parameters=booster),
        ClassRecipe(model=_REGRESSION, label=label, classes=classes, parameters={"l2": 100.0}),
    )


def train_classes(
    recipe: ClassRecipe, columns: tuple[str, ...], sample: Sample, *, horizon: int, seed: int
) -> bytes:
    """The artifact of a fit.

    Args:
        recipe: what is fitted.
        columns: of the inputs.
        sample: answers are positions of classes; every class gets a row of weight 1 beside them.
        horizon: candles.
        seed: of all that is drawn.

    Raises:
        ValueError: no row can be used.
    """
    sample, every = sample.usable(), np.arange(len(recipe.classes), dtype=np.float64)
    described = {**recipe.written(), "columns": columns, "horizon": horizon}
    if recipe.model == _REGRESSION:
        fitted = fit_softmax(sample, every, recipe.parameters["l2"])
        return write_bundle({**described, **fitted}, {})
    sample = sample.with_every_class(medians(sample.inputs), every)
    task = Task(
        inputs=sample.inputs,
        answers=sample.answers,
        weights=sample.weights,
        objective="classes",
        classes=len(every),
        parameters=TreeParameters(**recipe.parameters),
        seed=seed,
    )
    (payload,) = LightGBM().train(task)
    return write_bundle(described, {_TREES: payload})


class ClassModel(ABC):
    """A fitted model of a kind of label; see `domain.classes.Classifier`."""

    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        self.label: str = description["label"]
        self.classes = tuple(description["classes"])
        self.horizon: int = description["horizon"]
        self._name = f"{description['kind']}.{self.label.partition('@')[0]}"
        self._version = version
        self._columns = tuple(description["columns"])

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._version

    def probabilities(self, features: FeatureBatch) -> Floats:
        return self.of_table(Table.of(features))

    def of_table(self, table: Table) -> Floats:
        """Of rows that need not be of one tick, shape (n, classes)."""
        inputs = table.select(self._columns)
        return self._of(inputs) if len(inputs) else np.empty((0, len(self.classes)))

    @abstractmethod
    def _of(self, inputs: Floats) -> Floats: ...


class _Regression(ClassModel):
    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        super().__init__(description, version)
        self._softmax = Softmax(description)

    def _of(self, inputs: Floats) -> Floats:
        return self._softmax.probabilities(inputs)


class _Booster(ClassModel):
    def __init__(self, description: Mapping[str, Any], trees: bytes, version: str) -> None:
        super().__init__(description, version)
        self._raw = LightGBM().load(trees)

    def _of(self, inputs: Floats) -> Floats:
        known = np.isfinite(inputs).any(axis=1, keepdims=True)
        return np.where(known, softmax(self._raw(inputs)), np.nan)


def open_classes(artifact: bytes, version: str) -> ClassModel:
    """The model of a kind of label that `artifact` describes.

    Raises:
        ArtifactError: it is no bundle of one, or a damaged one.
    """
    description, files = read_bundle(artifact)
    try:
        if description["kind"] == _REGRESSION:
            return _Regression(description, version)
        return _Booster(description, files[_TREES], version)
    except (KeyError, ValueError) as error:
        raise ArtifactError("the artifact is no model of a kind of label") from error
