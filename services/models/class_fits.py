"""One fit of a model of class labels, and how it did on rows that it did not see."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.classes import VOID
from domain.events import Examples, Floats, Ints
from domain.losses import SMALLEST_PROBABILITY
from services.models.baseline import MINIMUM_LABELS
from services.models.classified import ClassRecipe, open_classes, train_classes
from services.models.fitting import data_sha256
from services.models.forecaster import Table
from services.models.sample import Sample
from services.models.walk_forward import History, Split, SplitKind, lean_split, refresh_split

LEAST_ROWS: Final = 500  # that a fit sees: fewer say little of that many classes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassTask:
    """What to fit. `examples` have a class each, and are ordered by when it was known."""

    recipe: ClassRecipe
    horizon: int  # candles
    horizon_ms: int
    columns: tuple[str, ...]  # the model columns of the feature set
    examples: Examples
    classes: Ints  # (m,) positions
    known_ms: Ints  # (m,) of the classes
    split: SplitKind
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassFit:
    """A fitted model and the evidence for it."""

    name: str
    artifact: bytes
    sha256: str  # of `artifact`
    as_of_ms: Ints  # (k,) of the rows that judge
    losses: Floats  # (k,) log losses of the judged fit
    prior_losses: Floats  # (k,) of the class prior
    n_train: int
    n_effective: float  # without what labels share
    trained_from_ms: int
    trained_until_ms: int
    finite: float  # share of judged rows that the artifact's model forecasts
    data_sha256: str
    recipe_sha256: str
    params: Mapping[str, Any]
    seed: int
    libraries: Mapping[str, str]
    train_seconds: float


def fit_classes(task: ClassTask) -> ClassFit:
    """Fit, judge, and tell what was done; the same task gives the same artifact.

    Raises:
        ValueError: too few rows.
    """
    started = time.perf_counter()
    split, final = _split(task)
    artifact = judged = _train(task, split.train)
    if task.split is SplitKind.REFRESH:
        artifact = _train(task, final)
    tested = task.examples.take(split.test)
    said = open_classes(judged, "judged").of_table(Table.of(tested))
    output = open_classes(artifact, "fitted").of_table(Table.of(tested))
    trained = task.examples.take(final)
    digest = hashlib.sha256(data_sha256(trained, task.columns).encode())
    digest.update(task.classes[final].astype("<i8").tobytes())
    return ClassFit(
        name=task.recipe.name,
        artifact=artifact,
        sha256=hashlib.sha256(artifact).hexdigest(),
        as_of_ms=tested.as_of_ms,
        losses=class_loss(said, task.classes[split.test]),
        prior_losses=class_loss(prior_before(task, split.test), task.classes[split.test]),
        n_train=len(trained),
        n_effective=len(trained) / task.horizon,
        trained_from_ms=int(trained.as_of_ms.min()),
        trained_until_ms=int(trained.as_of_ms.max()),
        finite=float(np.isfinite(output).all(axis=1).mean()),
        data_sha256=digest.hexdigest(),
        recipe_sha256=task.recipe.sha256,
        params=task.recipe.written(),
        seed=task.seed,
        libraries=task.recipe.environment(),
        train_seconds=time.perf_counter() - started,
    )


def class_loss(probabilities: Floats, classes: Ints) -> Floats:
    """−ln p(class) per row; (n, k) and (n,). NaN stays NaN.

    >>> class_loss(np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([0, 1])).round(3).tolist()
    [1.386, 0.693]
    """
    chosen = np.take_along_axis(probabilities, classes[:, None], axis=1)[:, 0]
    result: Floats = -np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0))
    return result


def prior_before(task: ClassTask, rows: Ints) -> Floats:
    """The class prior as it was known at each of `rows`, shape (len(rows), classes)."""
    count = len(task.recipe.classes)
    order = np.argsort(task.known_ms, kind="stable")
    came = np.cumsum(np.eye(count)[task.classes[order]], axis=0)
    known = np.searchsorted(task.known_ms[order], task.examples.as_of_ms[rows], side="right")
    counts = np.vstack((np.zeros(count), came))[known]
    total = counts.sum(axis=1, keepdims=True)
    prior: Floats = np.where(total < MINIMUM_LABELS, 1 / count, (counts + 1) / (total + count))
    return prior


def _split(task: ClassTask) -> tuple[Split, Ints]:
    """The split that judges, and the rows of the fit that is kept."""
    if (task.classes == VOID).any():
        raise ValueError("a void label is no example")
    if len(task.classes) < LEAST_ROWS:
        raise ValueError(f"{len(task.classes)} rows with a class are too few")
    history = History(task.examples.as_of_ms, task.known_ms, embargo_ms=task.horizon_ms)
    refresh = task.split is SplitKind.REFRESH
    split = refresh_split(history, horizon_ms=task.horizon_ms) if refresh else lean_split(history)
    if len(split.train) < LEAST_ROWS or not len(split.test):
        raise ValueError(f"{len(split.train)} rows with a class are too few")
    return split, np.arange(len(task.classes)) if refresh else split.train


def _train(task: ClassTask, rows: Ints) -> bytes:
    inputs = Table.of(task.examples.take(rows)).select(task.columns)
    shares = np.full(len(rows), 1 / task.horizon)  # as many labels overlap at each close
    sample = Sample(inputs, task.classes[rows].astype(np.float64), shares)
    return train_classes(task.recipe, task.columns, sample, horizon=task.horizon, seed=task.seed)
