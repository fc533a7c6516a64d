"""One fit as a pure function that a worker process can run."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from domain.events import Examples, Floats, Ints, Target
from domain.losses import Answer, deciding_loss
from domain.market import Instrument
from services.models.artifacts import open_model
from services.models.baseline import ClassPrior, EmpiricalQuantiles, Ewma
from services.models.bundle import write_bundle
from services.models.catalogue import BUILT_IN, Catalogue
from services.models.derived import columns_of, with_derived
from services.models.devices import settled
from services.models.dissimilarity import Reference
from services.models.forecaster import Forecaster, Table
from services.models.har import Har
from services.models.recipes import Recipe
from services.models.sample import knowledge_ms, sample_weights
from services.models.walk_forward import (
    History,
    Split,
    SplitKind,
    lean_split,
    refresh_split,
    walk_forward,
)

EXPLAINED_SHARE = 0.01  # of the rows that are fitted; TreeSHAP takes up to a millisecond a row
EXPLAINED_ROWS = 200  # at most

Baseline = ClassPrior | Ewma | Har | EmpiricalQuantiles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitTask:
    """What to fit. `examples` are ordered by (known, as_of, instrument)."""

    recipe: Recipe
    horizon: int  # candles
    horizon_ms: int
    columns: tuple[str, ...]  # the model columns of the feature set
    examples: Examples  # all its columns
    split: SplitKind
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Forecasts of rows that the judged fit could not know, beside its baselines'."""

    instruments: tuple[Instrument, ...]  # (k,)
    as_of_ms: Ints  # (k,)
    answer: Answer  # (k,)
    forecast: Floats  # (k,) or (k, 3)
    losses: Floats  # (k,); NaN = not scored
    baseline_losses: Mapping[str, Floats]  # model name → (k,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Importance:
    """What matters to a model, by rows that judge it."""

    rows: int  # evenly from those that it forecasts
    features: Mapping[str, float]  # mean |contribution|, the largest first


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitResult:
    """A fitted model and the evidence for it."""

    name: str
    artifact: bytes
    sha256: str  # of `artifact`
    judged: Judged
    n_train: int
    n_effective: float  # sum of uniqueness
    trained_from_ms: int  # first and last as_of of the training rows
    trained_until_ms: int
    finite: float  # share of judged rows that the artifact's model forecasts
    coverage: float | None  # quantiles: share of returns within q10–q90, artifact's model
    disagreement: float | None  # between judged fit and artifact's model; see `disagree`
    importance: Importance | None  # of the artifact's model; None: it tells no contributions
    data_sha256: str
    recipe_sha256: str
    params: Mapping[str, Any]
    n_trials: int  # of its recipe
    seed: int
    libraries: Mapping[str, str]
    train_seconds: float


def fit(task: FitTask, catalogue: Catalogue = BUILT_IN) -> FitResult:
    """Fit, judge, and tell what was done; the same task gives the same artifact.

    Args:
        task: what to fit.
        catalogue: has the kind of its recipe.

    Raises:
        ValueError: no rows remain to train on, or none to judge.
        UsageError: its device cannot be had.
    """
    started = time.perf_counter()
    task = replace(task, recipe=settled(task.recipe, catalogue.kinds[task.recipe.kind]))
    target = task.recipe.target
    examples = known(task.examples, target)
    splits, final = _splits(task, examples)
    artifacts = [train(task, catalogue, examples.take(split.train)) for split in splits]
    same = len(splits) == 1 and np.array_equal(splits[0].train, final)
    artifact = artifacts[0] if same else train(task, catalogue, examples.take(final))
    judges = [open_model(one, "judged", catalogue) for one in artifacts]
    judged = _judge(target, judges, splits, examples, task.horizon)
    model = open_model(artifact, "fitted", catalogue)
    tested = examples.take(np.concatenate([split.test for split in splits]))
    output = model.forecast(Table.of(tested))
    trained = examples.take(final)
    return FitResult(
        name=model.name,
        artifact=artifact,
        sha256=hashlib.sha256(artifact).hexdigest(),
        judged=judged,
        n_train=len(trained),
        n_effective=float(trained.uniqueness.sum()),
        trained_from_ms=int(trained.as_of_ms.min()),
        trained_until_ms=int(trained.as_of_ms.max()),
        finite=float(np.isfinite(output).reshape(len(output), -1).all(axis=1).mean()),
        coverage=_coverage(output, tested.log_return) if target is Target.QUANTILES else None,
        disagreement=None if same else disagree(target, judged.forecast, output),
        importance=importance(model, tested, output, len(trained)),
        data_sha256=data_sha256(trained, task.columns),
        recipe_sha256=task.recipe.sha256,
        params=task.recipe.written(),
        n_trials=task.recipe.n_trials,
        seed=task.seed,
        libraries=catalogue.environment(task.recipe),
        train_seconds=time.perf_counter() - started,
    )


def train(task: FitTask, catalogue: Catalogue, rows: Examples) -> bytes:
    """The artifact of one fit: what its kind made of `rows`, and what it is of.

    Raises:
        ValueError: no row can be used.
    """
    recipe, sets = task.recipe, catalogue.sets(task.recipe.features)
    columns = (*task.columns, *columns_of(sets))
    kind = catalogue.kinds[recipe.kind]
    fitted = kind.fit(with_derived(rows, sets), columns, recipe, task.horizon, task.seed)
    shape = {"kind": recipe.kind, "target": recipe.target, "horizon": task.horizon}
    features: dict[str, Any] = {"features": recipe.features} if sets else {}
    features |= {"candles": recipe.candles} if recipe.candles else {}
    trained = Table.of(rows.take(sample_weights(rows) > 0)).select(task.columns)
    reference = Reference.of(task.columns, trained)
    described = {**shape, "columns": columns, **features, "reference": reference.written()}
    return write_bundle({**fitted.numbers, **described}, fitted.files)


def progressive(learner: Baseline, examples: Examples, rows: Ints) -> Floats:
    """What `learner` says of `rows`, having learnt at each only what was known then."""
    known_ms = knowledge_ms(examples, learner.target)
    order = np.argsort(known_ms, kind="stable")
    limits = np.searchsorted(known_ms[order], examples.as_of_ms[rows], side="right")
    parts: dict[int, Floats] = {}
    learnt = 0
    for limit in np.unique(limits):
        learner.learn(examples.take(order[learnt:limit]))
        learnt = int(limit)
        parts[learnt] = learner.forecast(Table.of(examples.take(rows[limits == limit])))
    shape = () if learner.target is Target.VOLATILITY else (3,)
    result: Floats = np.empty((len(rows), *shape))
    for limit, part in parts.items():
        result[limits == limit] = part
    return result


def disagree(target: Target, one: Floats, other: Floats) -> float:
    """Mean distance of two forecasts over rows that both make; NaN when there is none.

    Direction: total variation. Volatility: |ln σ₁/σ₂|. Quantiles: mean distance of the
    three over the mean width of the first.
    """
    if target is Target.VOLATILITY:
        distance = np.abs(np.log(one / other))
    elif target is Target.DIRECTION:
        distance = np.abs(one - other).sum(axis=1) / 2
    else:
        width = np.nanmean(one[:, 2] - one[:, 0]) if np.isfinite(one).any() else np.nan
        distance = np.abs(one - other).mean(axis=1) / width
    both = distance[np.isfinite(distance)]
    return float(both.mean()) if len(both) else float("nan")


def importance(
    model: Forecaster, tested: Examples, output: Floats, n_train: int
) -> Importance | None:
    """What matters to the model that is kept; so few rows that a fit takes hardly longer.

    Args:
        model: that is kept.
        tested: the rows that judge.
        output: its forecasts of them.
        n_train: rows that it was fitted on.

    Returns:
        None where it cannot tell, or forecasts none.
    """
    said = np.flatnonzero(np.isfinite(output).reshape(len(output), -1).all(axis=1))
    if not len(said):
        return None
    count = min(EXPLAINED_ROWS, math.ceil(EXPLAINED_SHARE * n_train), len(said))
    places = np.linspace(0, len(said) - 1, count).astype(np.int64)
    explanation = model.explain(Table.of(tested.take(said[places])))
    if explanation is None:
        return None
    return Importance(rows=count, features=explanation.importance())


def data_sha256(examples: Examples, columns: tuple[str, ...]) -> str:
    """Identity of the rows that a model was fitted on."""
    digest = hashlib.sha256("\x1f".join((*examples.columns, "", *columns)).encode())
    digest.update("\x1f".join(map(str, examples.instruments)).encode())
    for array in (examples.as_of_ms, examples.direction_known_ms, examples.known_ms):
        digest.update(array.astype("<i8").tobytes())
    for values in (
        examples.features,
        examples.outcome,
        examples.weight,
        examples.log_return,
        examples.realized_volatility,
        examples.uniqueness,
    ):
        digest.update(values.astype("<f8").tobytes())
    if (past := examples.past) is not None:
        for places in past.places:
            digest.update((places >= 0).tobytes())
            digest.update(past.rows[places[places >= 0]].astype("<f8").tobytes())
    return digest.hexdigest()


def known(examples: Examples, target: Target) -> Examples:
    """Those whose label is known."""
    return examples.take(knowledge_ms(examples, target) > 0)


def baselines(target: Target, horizon: int) -> tuple[Baseline, ...]:
    """The floors of a target, untaught."""
    if target is Target.DIRECTION:
        return (ClassPrior(horizon=horizon),)
    if target is Target.QUANTILES:
        return (EmpiricalQuantiles(horizon=horizon),)
    return (Ewma(horizon=horizon), Har(horizon=horizon))


def _splits(task: FitTask, examples: Examples) -> tuple[list[Split], Ints]:
    """The splits that judge, and the rows of the fit that is kept."""
    if not len(examples):
        raise ValueError("no rows to fit on")
    known_ms = knowledge_ms(examples, task.recipe.target)
    history = History.of(examples, known_ms, embargo_ms=task.horizon_ms)
    if task.split is SplitKind.REFRESH:
        splits = [refresh_split(history, horizon_ms=task.horizon_ms)]
        final = np.arange(len(examples))
    else:
        lean = lean_split(history)
        splits = [lean] if task.split is SplitKind.LEAN else walk_forward(history)
        final = lean.train
    if not splits or not all(len(split.train) and len(split.test) for split in splits):
        raise ValueError(f"{len(examples)} rows are too few for a {task.split} fit")
    return splits, final


def _judge(
    target: Target, models: list[Forecaster], splits: list[Split], examples: Examples, horizon: int
) -> Judged:
    rows = np.concatenate([split.test for split in splits])
    tested = examples.take(rows)
    forecast = np.concatenate(
        [
            model.forecast(Table.of(examples.take(split.test)))
            for model, split in zip(models, splits, strict=True)
        ]
    )
    answer = Answer(
        outcome=tested.outcome,
        log_return=tested.log_return,
        realized_volatility=tested.realized_volatility,
    )
    return Judged(
        instruments=tested.instruments,
        as_of_ms=tested.as_of_ms,
        answer=answer,
        forecast=forecast,
        losses=deciding_loss(target, forecast, answer),
        baseline_losses={
            learner.name: deciding_loss(target, progressive(learner, examples, rows), answer)
            for learner in baselines(target, horizon)
        },
    )


def _coverage(quantiles: Floats, log_return: Floats) -> float:
    said = np.isfinite(quantiles).all(axis=1)
    inside = (log_return >= quantiles[:, 0]) & (log_return <= quantiles[:, -1])
    return float(inside[said].mean()) if said.any() else float("nan")
