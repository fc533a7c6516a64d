"""A plug-in of this release: random forests by scikit-learn, kept as arrays."""

from __future__ import annotations

import importlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from domain.errors import ArtifactError
from domain.events import Examples, Floats, Target
from services.models.forecaster import FittedForecaster, Forecaster, Table
from services.models.kinds import Fitted
from services.models.recipes import Recipe
from services.models.sample import CLASS_VALUES, Sample, medians, sample_weights

if TYPE_CHECKING:
    from services.models.trees import Trees

TREES: Final = "trees.npz"


@dataclass(frozen=True, slots=True)
class ForestKind:
    """Direction by the mean class frequencies of trees grown on rows drawn anew (Breiman 2001)."""

    name: str = "forest"
    recipes: tuple[Recipe, ...] = (
        Recipe(
            kind="forest",
            target=Target.DIRECTION,
            parameters={
                "trees": 100,
                "depth": 6,
                "min_child": 200.0,  # rows in a leaf
                "feature_fraction": 0.3,
                "row_fraction": 0.5,
            },
        ),
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
        """Fit on `columns`; an unknown value is the median of the training rows."""
        del horizon  # the outcome has it
        inputs = Table.of(examples).select(columns)
        sample = Sample(inputs, examples.outcome, sample_weights(examples)).usable()
        centre = medians(sample.inputs)
        sample = sample.with_every_class(centre)
        filled = np.where(np.isfinite(sample.inputs), sample.inputs, centre)
        wanted = recipe.parameters
        forest = importlib.import_module("sklearn.ensemble").RandomForestClassifier(
            n_estimators=wanted["trees"],
            max_depth=wanted["depth"],
            min_samples_leaf=int(wanted["min_child"]),
            max_features=wanted["feature_fraction"],
            max_samples=wanted["row_fraction"],
            random_state=seed,
            n_jobs=1,
        )
        forest.fit(filled, sample.answers, sample_weight=sample.weights)
        prior = np.bincount(sample.answers.astype(np.int64) + 1, weights=sample.weights)
        return Fitted(
            numbers={"medians": centre.tolist()},
            files={TREES: _written([one.tree_ for one in forest.estimators_], prior / prior.sum())},
        )

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        return Forest(description, files, version)


class Forest(FittedForecaster):
    """Mean class frequencies of the leaves that a row falls into; NaN where nothing is known."""

    def __init__(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> None:
        super().__init__(description, version)
        self._medians = np.array(description["medians"])
        try:
            arrays = np.load(io.BytesIO(files[TREES]), allow_pickle=False)
            self._sizes, self._trees = arrays["sizes"], _read(arrays)
        except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"the trees of {self.name} cannot be read") from error

    def forecast(self, table: Table) -> Floats:
        inputs = table.select(self._columns)
        known = np.isfinite(inputs)
        # As scikit-learn rounds what it compares.
        filled = np.where(known, inputs, self._medians).astype(np.float32).astype(np.float64)
        share: Floats = self._trees.raw(filled) / len(self._sizes)
        share /= share.sum(axis=1, keepdims=True)
        return np.where(known.any(axis=1, keepdims=True), share, np.nan)


def _written(trees: Sequence[Any], prior: Floats) -> bytes:
    """All nodes of scikit-learn's trees, one after another; a leaf has no child (−1).

    A leaf's frequencies have one more row in them, of the `prior`: none is 0.
    """
    rows = np.concatenate([tree.weighted_n_node_samples for tree in trees])[:, None]
    shares = np.concatenate([tree.value[:, 0, :] for tree in trees])
    file = io.BytesIO()
    np.savez(
        file,
        sizes=np.array([tree.node_count for tree in trees]),
        features=np.concatenate([tree.feature for tree in trees]),
        thresholds=np.concatenate([tree.threshold for tree in trees]),
        left=np.concatenate([tree.children_left for tree in trees]),
        right=np.concatenate([tree.children_right for tree in trees]),
        values=(shares * rows + prior) / (rows + 1.0),
    )
    return file.getvalue()


def _read(arrays: Mapping[str, Any]) -> Trees:
    """Each tree once for each class, over the same splits."""
    from services.models.trees import Trees  # noqa: PLC0415 - numba, which few commands need

    sizes, left, values = arrays["sizes"], arrays["left"], arrays["values"]
    nodes, classes = len(left), len(CLASS_VALUES)
    first = np.cumsum(sizes) - sizes
    start = np.repeat(first, sizes)
    leaf = left < 0
    # Where a node is a leaf its number as a child is −(its number) − 1: leaves are all nodes.
    number = np.where(leaf, -np.arange(nodes) - 1, np.arange(nodes))
    children = np.column_stack(
        [
            np.where(leaf, 0, number[np.where(leaf, 0, side + start)])
            for side in (left, arrays["right"])
        ]
    )
    copies = np.arange(classes)[:, None]
    moved = children + np.where(children < 0, -nodes, nodes) * copies[..., None]
    roots = number[first][:, None] + np.where(leaf[first], -nodes, nodes)[:, None] * copies.T
    return Trees(
        outputs=classes,
        roots=np.ascontiguousarray(roots.ravel()),
        features=np.tile(arrays["features"], classes),
        thresholds=np.tile(arrays["thresholds"], classes),
        unknown_right=np.zeros(nodes * classes, dtype=np.bool_),
        children=np.ascontiguousarray(moved.reshape(-1, 2)),
        leaves=np.ascontiguousarray(values.T.ravel()),
    )


PLUGIN: Final = ForestKind()
