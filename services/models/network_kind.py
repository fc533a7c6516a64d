"""Plug-ins of this release: neural networks, fitted by JAX, kept as arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from domain.errors import ArtifactError
from domain.events import Bools, Examples, Floats, Target
from services.models.descent import Descent, descend
from services.models.devices import jax_without_cuda
from services.models.forecaster import FittedForecaster, Forecaster, Table
from services.models.kinds import Fitted
from services.models.networks import Gru, Mlp, Network, ResNet, TabNet, Weights
from services.models.recipes import PAST, Recipe
from services.models.sample import Sample, sample_weights, softmax
from services.models.sequences import Sequences, SequenceSample
from services.models.walk_forward import History

WEIGHTS: Final = "weights.npz"
CLIP: Final = 5.0  # standard deviations
NEWER: Final = 0.1  # share of the rows by which a fit stops
NETWORKS: Final[Mapping[str, type[Mlp | ResNet | TabNet | Gru]]] = {
    "gru": Gru,
    "mlp": Mlp,
    "resnet": ResNet,
    "tabnet": TabNet,
}


@dataclass(frozen=True, slots=True)
class Scaling:
    """How columns become inputs, by the rows that are learnt from.

    A value is in standard deviations from the mean, an unknown one is 0. A column that was
    unknown in one of those rows has an input beside it that is 1 where it is unknown.
    """

    mean: Floats  # (k,)
    deviation: Floats  # (k,)
    gaps: Bools  # (k,) whether it was unknown somewhere

    @classmethod
    def of(cls, values: Floats) -> Scaling:
        known = np.isfinite(values)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / count
        square = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count
        return cls(mean, np.where(square > 0, np.sqrt(square), 1.0), np.asarray(~known.all(axis=0)))

    def inputs(self, values: Floats) -> Floats:
        """Of rows (n, k), shape (n, k + gaps)."""
        known = np.isfinite(values)
        scaled = np.where(known, (values - self.mean) / self.deviation, 0.0).clip(-CLIP, CLIP)
        return np.hstack((scaled, ~known[:, self.gaps]))

    def steps(self, told: Sequences) -> Sequences:
        """Of sequences; a row of which nothing is known is all 0."""
        known = np.isfinite(told.rows).any(axis=1, keepdims=True)
        return Sequences(np.where(known, self.inputs(told.rows), 0.0), told.places)


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """Direction by one of `NETWORKS`, which the recipe's `network` is given to."""

    name: str
    recipes: tuple[Recipe, ...]
    distributions: tuple[str, ...] = ("jax", "jaxlib", "optax")

    def without_cuda(self) -> str:
        return jax_without_cuda()

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        """Fit on all but the newest rows, and stop by those.

        Raises:
            ValueError: no row can be used, or all that can are of one time.
        """
        del horizon  # the outcome has it
        wanted = dict(recipe.parameters)
        device, shape, past = wanted.pop("device"), wanted.pop("network"), wanted.pop(PAST, 0)
        older, newer = _halves(examples, columns)
        # In the order of rows, so that sums are those of earlier builds to the bit.
        scaling = Scaling.of(np.ascontiguousarray(Table.of(older).select(columns)))
        learnt = _with_every_class(_inputs(older, columns, scaling, past))
        newest = _inputs(newer, columns, scaling, past)
        network = NETWORKS[self.name](**shape)
        weights = descend(network, learnt, newest, Descent(**wanted), seed=seed, device=device)
        numbers = {
            "network": shape,
            **({PAST: past} if past else {}),
            **{name: one.tolist() for name, one in asdict(scaling).items()},
        }
        return Fitted(numbers=numbers, files={WEIGHTS: _written(weights)})

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        return NetworkDirection(description, files, version)


class NetworkDirection(FittedForecaster):
    """Class probabilities by numpy in double precision; NaN where nothing is known."""

    def __init__(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> None:
        super().__init__(description, version)
        self._scaling = Scaling(
            *(np.array(description[name]) for name in ("mean", "deviation", "gaps"))
        )
        self._network: Network = NETWORKS[description["kind"]](**description["network"])
        self.past = int(description.get(PAST, 0))
        try:
            self._weights = _read(files[WEIGHTS])
            self.forecast(Table(self._columns, np.zeros((1, len(self._columns)))))
        except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"the weights of {self.name} cannot be read") from error

    def forecast(self, table: Table) -> Floats:
        values = table.select(self._columns)
        known = np.isfinite(values).any(axis=1, keepdims=True)
        return np.where(known, softmax(self._scores(table, values)), np.nan)

    def _scores(self, table: Table, values: Floats) -> Floats:
        if self.past:
            told = self._scaling.steps(table.sequences(self._columns, self.past))
            inputs = told.stacked
        else:
            inputs = self._scaling.inputs(values)
        scores: Floats = self._network.scores(np, self._weights, inputs)
        return scores


def _halves(examples: Examples, columns: tuple[str, ...]) -> tuple[Examples, Examples]:
    """What to learn from, and the newest; no label of the first was known after those begin.

    Raises:
        ValueError: one of them has no row that can be used.
    """
    history = History.of(examples, examples.direction_known_ms, embargo_ms=0)
    split = history.split_at(history.last(NEWER))
    older, newer = (_usable(examples.take(rows), columns) for rows in (split.train, split.test))
    return older, newer


def _usable(examples: Examples, columns: tuple[str, ...]) -> Examples:
    inputs, weights = Table.of(examples).select(columns), sample_weights(examples)
    return examples.take(Sample(inputs, examples.outcome, weights).usable_rows())


def _inputs(
    examples: Examples, columns: tuple[str, ...], scaling: Scaling, past: int
) -> Sample | SequenceSample:
    """What a network learns from or stops by; `past`: candles before each row, 0: none."""
    table, weights = Table.of(examples), sample_weights(examples)
    if past:
        told = scaling.steps(table.sequences(columns, past))
        return SequenceSample(told, examples.outcome, weights)
    return Sample(scaling.inputs(table.select(columns)), examples.outcome, weights)


def _with_every_class(sample: Sample | SequenceSample) -> Sample | SequenceSample:
    if isinstance(sample, SequenceSample):
        return sample.with_every_class()
    return sample.with_every_class(np.zeros(sample.inputs.shape[1]))


def _written(weights: Weights) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: weights[name] for name in sorted(weights)})
    return file.getvalue()


def _read(content: bytes) -> Weights:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays.files}


def _network(
    name: str,
    learning_rate: float = 1e-3,
    past: int = 0,
    **network: Any,  # noqa: ANN401 - as in JSON
) -> NetworkKind:
    how = Descent(
        learning_rate=learning_rate,
        weight_decay=0.1,
        batch=256,
        epochs=30,
        patience=5,
        dropout=0.5,
    )
    parameters = {"device": "cpu", "network": network, **asdict(how)}
    if past:
        parameters[PAST] = past
    return NetworkKind(name, (Recipe(kind=name, target=Target.DIRECTION, parameters=parameters),))


MLP: Final = _network("mlp", width=16, depth=1)
RESNET: Final = _network("resnet", width=64, depth=2)
TABNET: Final = _network("tabnet", 3e-3, width=16, depth=3, relaxation=1.5)
GRU: Final = _network("gru", 3e-3, past=15, width=16)
