"""A plug-in of this release: a softmax regression on what other kinds say out of fold."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.events import Examples, Floats, Target
from services.models.boosters import CATBOOST, LIGHTGBM, XGBOOST
from services.models.bundle import read_bundle, write_bundle
from services.models.devices import CPU
from services.models.forecaster import FittedForecaster, Forecaster, Table
from services.models.kinds import Fitted, FittedKind
from services.models.logistic import LOGISTIC
from services.models.recipes import Recipe
from services.models.sample import Sample, knowledge_ms, sample_weights, softmax
from services.models.walk_forward import History, Split, walk_forward

PARTS: Final[tuple[FittedKind, ...]] = (CATBOOST, LIGHTGBM, XGBOOST, LOGISTIC)
ITERATIONS: Final = 200
LEAST: Final = 1e-9  # a probability whose log is still finite


@dataclass(frozen=True, slots=True)
class StackerKind:
    """Stacked generalization (Wolpert 1992), with splits in time for its cross-validation.

    Each part is fitted on the rows before each of `folds` stretches of time and forecasts that
    stretch; the centred logs of these probabilities are what the regression is fitted on. Then
    each part is fitted once more, on all rows.
    """

    name: str = "stacker"
    recipes: tuple[Recipe, ...] = (
        Recipe(
            kind="stacker",
            target=Target.DIRECTION,
            parameters={
                "folds": 3,
                "l2": 100.0,  # precision of the weights' prior
                "trees": 70,  # of each booster
                "min_child": 200.0,
            },
        ),
    )
    distributions: tuple[str, ...] = tuple(
        dict.fromkeys(name for part in PARTS for name in part.distributions)
    )

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        """Fit the parts on `columns`, and the regression on what they say out of fold.

        Raises:
            ValueError: no row can be used, or the rows span too little time for the folds.
        """
        splits = _splits(examples, recipe)
        if not splits:
            raise ValueError(f"{len(examples)} rows are too few to be forecast out of fold")
        said = []
        for split in splits:
            files = _fit_parts(examples.take(split.train), columns, recipe, horizon, seed)
            said.append(_logits(_open_parts(files, ""), Table.of(examples.take(split.test))))
        tested = examples.take(np.concatenate([split.test for split in splits]))
        return Fitted(
            numbers=_regress(np.concatenate(said), tested, recipe),
            files=_fit_parts(examples, columns, recipe, horizon, seed),
        )

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        return Stacker(description, files, version)


class Stacker(FittedForecaster):
    """Softmax of a linear map of the centred logs of what its parts say; NaN where one is mute."""

    def __init__(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> None:
        super().__init__(description, version)
        self._coefficients = np.array(description["coefficients"])
        self._intercepts = np.array(description["intercepts"])
        self._parts = _open_parts(files, version)

    def forecast(self, table: Table) -> Floats:
        return softmax(_logits(self._parts, table) @ self._coefficients.T + self._intercepts)


def _fit_parts(
    examples: Examples, columns: tuple[str, ...], recipe: Recipe, horizon: int, seed: int
) -> dict[str, bytes]:
    """The bundle of each part, by name."""
    shape = {"target": recipe.target, "horizon": horizon, "columns": columns}
    files = {}
    for part in PARTS:
        of_target = next(one for one in part.recipes if one.target is recipe.target)
        shared = {name: recipe.parameters[name] for name in ("trees", "min_child")}
        fitted = part.fit(examples, columns, of_target.changed(**shared, device=CPU), horizon, seed)
        files[part.name] = write_bundle(
            {**fitted.numbers, "kind": part.name, **shape}, fitted.files
        )
    return files


def _open_parts(files: Mapping[str, bytes], version: str) -> list[Forecaster]:
    """In the order of `PARTS`.

    Raises:
        KeyError: one is missing.
        ArtifactError: one cannot be read.
    """
    return [part.open(*read_bundle(files[part.name]), version) for part in PARTS]


def _splits(examples: Examples, recipe: Recipe) -> list[Split]:
    """Stretches of equal time, each with the rows before it that were known by then."""
    known_ms = knowledge_ms(examples, recipe.target)
    embargo_ms = int(np.median(examples.known_ms - examples.as_of_ms))
    history = History(examples.as_of_ms, known_ms, embargo_ms=embargo_ms)
    return walk_forward(history, folds=recipe.parameters["folds"], holdout=0.0)


def _logits(parts: Sequence[Forecaster], table: Table) -> Floats:
    """(n, 3 × parts) centred logs of their probabilities; NaN where one says nothing."""
    logs = [np.log(np.maximum(part.forecast(table), LEAST)) for part in parts]
    return np.hstack([one - one.mean(axis=1, keepdims=True) for one in logs])


def _regress(said: Floats, examples: Examples, recipe: Recipe) -> dict[str, Any]:
    known = np.flatnonzero(np.isfinite(said).all(axis=1))
    rows = examples.take(known)
    sample = Sample(said[known], rows.outcome, sample_weights(rows)).usable()
    sample = sample.with_every_class(np.zeros(said.shape[1]))
    regression = importlib.import_module("sklearn.linear_model").LogisticRegression(
        C=1 / recipe.parameters["l2"], max_iter=ITERATIONS
    )
    regression.fit(sample.inputs, sample.answers, sample_weight=sample.weights)
    return {
        "coefficients": regression.coef_.tolist(),
        "intercepts": regression.intercept_.tolist(),
    }


PLUGIN: Final = StackerKind()
