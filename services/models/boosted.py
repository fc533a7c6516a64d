"""Boosted trees for the three targets, by any of the engines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.errors import ArtifactError
from domain.events import QUANTILE_LEVELS, Bools, Examples, Floats, Target
from services.models.engines import ENGINES, Engine, Raw, Task, TreeParameters
from services.models.explanation import TREE_SHAP, Explanation
from services.models.forecaster import EWMA_VARIANCE, FittedForecaster, Table
from services.models.har import FLOOR, GARMAN_KLASS, har_regressors, solve
from services.models.kinds import Fitted
from services.models.recipes import Recipe
from services.models.sample import Sample, medians, sample_weights, softmax

# As `volatility_inputs` has them after the columns.
RELATIVE: Final = tuple(f"ln({name}/{EWMA_VARIANCE})" for name in GARMAN_KLASS)


def _fitted(engine: Engine, payloads: Mapping[str, bytes], **numbers: Any) -> Fitted:  # noqa: ANN401 - JSON
    files = {f"{name}.{engine.suffix}": payload for name, payload in payloads.items()}
    return Fitted(numbers=numbers, files=files)


def fit_direction(
    examples: Examples, columns: tuple[str, ...], recipe: Recipe, horizon: int, seed: int
) -> Fitted:
    """Three classes, log loss."""
    del horizon  # the outcome has it
    inputs = Table.of(examples).select(columns)
    sample = Sample(inputs, examples.outcome, sample_weights(examples)).usable()
    sample = sample.with_every_class(medians(sample.inputs))
    task = Task(
        inputs=sample.inputs,
        answers=sample.answers + 1,
        weights=sample.weights,
        objective="classes",
        parameters=TreeParameters(**recipe.parameters),
        seed=seed,
    )
    engine = ENGINES[recipe.kind]
    (payload,) = engine.train(task)
    return _fitted(engine, {"classes": payload})


def volatility_regressors(table: Table) -> Floats:
    """The HAR regressors and the log of the EWMA variance, shape (n, 6)."""
    return np.column_stack((har_regressors(table), 2 * np.log(table.ewma_sigma(1))))


def volatility_inputs(table: Table, columns: tuple[str, ...], regressors: Floats) -> Floats:
    """`columns` and the Garman-Klass variances relative to EWMA's, in logs."""
    relative = regressors[:, 1:-1] - regressors[:, -1:]
    return np.column_stack((table.select(columns), relative))


@dataclass(frozen=True, slots=True, eq=False)
class Unexplained:
    """What a log-HAR with EWMA leaves of ln rv², of the m rows that can be used."""

    rows: Bools  # of all examples
    regressors: Floats  # (m, 6)
    coefficients: Floats  # (6,)
    residual: Floats  # (m,)
    weights: Floats  # (m,)

    def numbers(self, fitted: Floats) -> dict[str, Any]:
        """The coefficients, and the bias factor once `fitted` explains of the residual what it can.

        The mean of rv² / exp(fit) is QLIKE's best scale on the training rows.
        """
        left = np.exp(self.residual - fitted)
        bias = float(np.average(left, weights=self.weights))
        return {"coefficients": self.coefficients.tolist(), "bias": bias}


def explain_volatility(examples: Examples) -> Unexplained:
    """Least squares of ln rv² on `volatility_regressors`.

    Raises:
        ValueError: no row can be used.
    """
    regressors = volatility_regressors(Table.of(examples))
    variance = examples.realized_volatility**2
    logs = np.log(np.where(variance > FLOOR, variance, np.nan))
    weights = examples.uniqueness
    rows = np.isfinite(regressors).all(axis=1) & np.isfinite(logs) & (weights > 0)
    if not rows.any():
        raise ValueError("no row has a realised volatility and the variances to explain it")
    regressors, logs, weights = regressors[rows], logs[rows], weights[rows]
    weighted = regressors * weights[:, None]
    coefficients = solve(weighted.T @ regressors, weighted.T @ logs)
    return Unexplained(rows, regressors, coefficients, logs - regressors @ coefficients, weights)


def fit_volatility(
    examples: Examples, columns: tuple[str, ...], recipe: Recipe, horizon: int, seed: int
) -> Fitted:
    """Trees on what a log-HAR with EWMA leaves of ln rv², squared error.

    Raises:
        ValueError: no row can be used.
    """
    del horizon  # the coefficients have it
    left = explain_volatility(examples)
    inputs = volatility_inputs(Table.of(examples.take(left.rows)), columns, left.regressors)
    task = Task(
        inputs=inputs,
        answers=left.residual,
        weights=left.weights,
        objective="mean",
        parameters=TreeParameters(**recipe.parameters),
        seed=seed,
    )
    engine = ENGINES[recipe.kind]
    (payload,) = engine.train(task)
    numbers = left.numbers(engine.load(payload)(inputs))
    return _fitted(engine, {"residual": payload}, **numbers)


def fit_quantiles(
    examples: Examples, columns: tuple[str, ...], recipe: Recipe, horizon: int, seed: int
) -> Fitted:
    """One booster a level on log return / EWMA-σ, pinball loss."""
    table = Table.of(examples)
    ratio = examples.log_return / table.ewma_sigma(horizon)
    sample = Sample(table.select(columns), ratio, examples.uniqueness).usable()
    task = Task(
        inputs=sample.inputs,
        answers=sample.answers,
        weights=sample.weights,
        objective="quantile",
        levels=QUANTILE_LEVELS,
        parameters=TreeParameters(**recipe.parameters),
        seed=seed,
    )
    names = [f"q{round(100 * level)}" for level in QUANTILE_LEVELS]
    engine = ENGINES[recipe.kind]
    return _fitted(engine, dict(zip(names, engine.train(task), strict=True)))


def nothing(target: Target) -> Floats:
    """The forecast of no rows."""
    return np.empty(0) if target is Target.VOLATILITY else np.empty((0, 3))


class Boosted(FittedForecaster):
    """A fitted booster: its columns and its raw scores."""

    parts: tuple[str, ...] = ()

    def __init__(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> None:
        super().__init__(description, version)
        self._engine = engine = ENGINES[description["kind"]]
        try:
            self._payloads = [files[f"{part}.{engine.suffix}"] for part in self.parts]
        except KeyError as error:
            raise ArtifactError(f"the artifact of {self.name} lacks {error}") from error
        self._raw: list[Raw] = [engine.load(payload) for payload in self._payloads]

    def forecast(self, table: Table) -> Floats:
        # The libraries refuse to predict no rows.
        return self._of_rows(table) if len(table) else nothing(self.target)

    @abstractmethod
    def _of_rows(self, table: Table) -> Floats: ...

    def explain(self, table: Table) -> Explanation:
        return self._explained(self._columns, table.select(self._columns))

    def _explained(
        self, names: tuple[str, ...], inputs: Floats, reference: Floats | None = None
    ) -> Explanation:
        """What the trees read of `inputs` (n, k)."""
        parts = [self._engine.contributions(payload, inputs) for payload in self._payloads]
        found = np.concatenate(parts, axis=1)
        return Explanation(
            target=self.target,
            method=TREE_SHAP,
            features=names,
            values=inputs,
            base=found[:, :, -1],
            contributions=found[:, :, :-1],
            margin=np.column_stack([raw(inputs) for raw in self._raw]),
            reference=reference,
        )


class BoostedDirection(Boosted):
    """Class probabilities; NaN where no feature is known."""

    parts = ("classes",)

    def _of_rows(self, table: Table) -> Floats:
        inputs = table.select(self._columns)
        known = np.isfinite(inputs).any(axis=1, keepdims=True)
        return np.where(known, softmax(self._raw[0](inputs)), np.nan)


class BoostedVolatility(Boosted):
    """√(exp(log-HAR + trees) × bias); NaN where EWMA or a HAR regressor is unknown."""

    parts = ("residual",)

    def __init__(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> None:
        super().__init__(description, files, version)
        self._coefficients = np.array(description["coefficients"])
        self._bias = float(description["bias"])

    def _of_rows(self, table: Table) -> Floats:
        regressors = volatility_regressors(table)
        inputs = volatility_inputs(table, self._columns, regressors)
        fit = regressors @ self._coefficients + self._raw[0](inputs)
        sigma: Floats = np.sqrt(np.exp(fit) * self._bias)
        return sigma

    def explain(self, table: Table) -> Explanation:
        regressors = volatility_regressors(table)
        inputs = volatility_inputs(table, self._columns, regressors)
        reference = regressors @ self._coefficients + np.log(self._bias)
        return self._explained((*self._columns, *RELATIVE), inputs, reference)


class BoostedQuantiles(Boosted):
    """Sorted quantiles of log return / EWMA-σ, × EWMA-σ; NaN where EWMA is unknown."""

    parts = tuple(f"q{round(100 * level)}" for level in QUANTILE_LEVELS)

    def _of_rows(self, table: Table) -> Floats:
        inputs = table.select(self._columns)
        known = np.isfinite(inputs).any(axis=1, keepdims=True)
        ratio = np.sort(np.column_stack([raw(inputs) for raw in self._raw]), axis=1)
        return np.where(known, ratio * table.ewma_sigma(self.horizon)[:, None], np.nan)

    def explain(self, table: Table) -> Explanation:
        inputs = table.select(self._columns)
        return self._explained(self._columns, inputs, table.ewma_sigma(self.horizon))
