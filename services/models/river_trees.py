"""Plug-ins of this release: River's trees, which grow with each label and are told of drift."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

import numpy as np

from domain.errors import ArtifactError
from domain.events import Examples, Floats, Target
from services.models.forecaster import Forecaster, Table
from services.models.libraries import load_library
from services.models.state import read_state, write_state
from services.models.structure import pack_objects, unpack_objects

CLASSES: Final = (-1, 0, 1)
SEED: Final = 7
FLOOR: Final = 0.02  # share of a third each: no class has a chance of 0


class RiverTrees(Forecaster):
    """Class frequencies of the leaves, for rows whose features are all known.

    An example with an unknown feature is not learnt and counted in `skipped`, as are none of
    weight 0 or without outcome. A third each before anything is learnt.
    """

    kind: str

    def __init__(self, columns: tuple[str, ...], *, horizon: int, version: str = "1") -> None:
        super().__init__(kind=self.kind, target=Target.DIRECTION, horizon=horizon, version=version)
        self.columns = columns
        self.learnt = 0
        self.skipped = 0
        self._trees = self.untaught()

    @abstractmethod
    def untaught(self) -> Any:  # noqa: ANN401 - a classifier of River's
        """The classifier, with its seed."""

    def forecast(self, table: Table) -> Floats:
        inputs = table.select(self.columns)
        known = np.isfinite(inputs).all(axis=1)
        output = np.full((len(inputs), len(CLASSES)), np.nan)
        for row in np.flatnonzero(known):
            said = self._trees.predict_proba_one(self._named(inputs[row]))
            chances = np.array([said.get(value, 0.0) for value in CLASSES])
            total = chances.sum()
            share = chances / total if total > 0 else np.full(len(CLASSES), 1 / len(CLASSES))
            output[row] = (1 - FLOOR) * share + FLOOR / len(CLASSES)
        return output

    def learn(self, examples: Examples) -> None:
        inputs = Table.of(examples).select(self.columns)
        wanted = np.isfinite(examples.outcome) & (examples.weight > 0)
        known = np.isfinite(inputs).all(axis=1)
        self.skipped += int((wanted & ~known).sum())
        for row in np.flatnonzero(wanted & known):
            self._trees.learn_one(self._named(inputs[row]), int(examples.outcome[row]))
            self.learnt += 1

    def snapshot(self) -> bytes:
        content = {
            "columns": self.columns,
            "learnt": self.learnt,
            "skipped": self.skipped,
            "trees": pack_objects(self._trees),
        }
        return write_state(self.name, self.horizon, content)

    def restore(self, state: bytes) -> None:
        content = read_state(state, self.name, self.horizon)
        if tuple(content["columns"]) != self.columns:
            raise ArtifactError(f"the state of {self.name} was learnt from other columns")
        trees = unpack_objects(content["trees"])
        if type(trees) is not type(self._trees):
            raise ArtifactError(f"the state of {self.name} holds other objects than its trees")
        self.learnt, self.skipped, self._trees = content["learnt"], content["skipped"], trees

    def _named(self, row: Floats) -> dict[str, float]:
        return dict(zip(self.columns, row.tolist(), strict=True))


class HoeffdingTree(RiverTrees):
    """One tree that puts others in the place of branches that have grown worse.

    Bifet and Gavaldà 2009, Adaptive Learning from Evolving Data Streams.
    """

    kind = "hoeffding_tree"

    def untaught(self) -> Any:  # noqa: ANN401
        return load_library("river.tree").HoeffdingAdaptiveTreeClassifier(seed=SEED)


class AdaptiveForest(RiverTrees):
    """Ten trees of random columns and weights; one that drifts is grown anew in the background.

    Gomes et al. 2017, Adaptive random forests for evolving data stream classification.
    """

    kind = "adaptive_forest"

    def untaught(self) -> Any:  # noqa: ANN401
        return load_library("river.forest").ARFClassifier(n_models=10, seed=SEED)
