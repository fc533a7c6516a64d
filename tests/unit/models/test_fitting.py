"""A fit is a pure function of its task, and its evidence is out of sample."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np
import pytest

from alphapulse_testing.panel import (
    HORIZON,
    HOUR_MS,
    MODEL_COLUMNS,
    PANEL,
    VARIANCES,
    panel_examples,
    past_of,
)
from domain.events import Target
from domain.losses import deciding_loss
from services.models.artifacts import open_model
from services.models.baseline import ClassPrior, Ewma
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitTask, data_sha256, disagree, fit, progressive
from services.models.forecaster import Table
from services.models.forest import PLUGIN as FOREST
from services.models.recipes import Recipe
from services.models.walk_forward import SplitKind

T = TypeVar("T")

EXAMPLES = panel_examples(250)
LAST_FIFTH = 150  # rows


def task_of(
    kind: str, target: Target = Target.DIRECTION, split: SplitKind = SplitKind.LEAN
) -> FitTask:
    return FitTask(
        recipe=BUILT_IN.recipes[f"{kind}.{target}"].changed(trees=30, min_child=5.0, l2=1.0),
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=EXAMPLES,
        split=split,
        seed=7,
    )


def travelled(thing: T) -> T:
    return cast("T", pickle.loads(pickle.dumps(thing)))  # noqa: S301 - our own bytes


def test_a_task_and_its_result_travel_between_processes() -> None:
    here = fit(task_of("xgboost"))

    there = travelled(fit(travelled(task_of("xgboost"))))

    assert there.sha256 == here.sha256
    assert np.array_equal(there.judged.losses, here.judged.losses)


def test_another_seed_gives_another_model() -> None:
    assert fit(replace(task_of("lightgbm"), seed=8)).sha256 != fit(task_of("lightgbm")).sha256


def test_a_lean_fit_is_judged_on_the_last_fifth_that_it_has_not_seen() -> None:
    result = fit(task_of("catboost"))

    spoilt = replace(EXAMPLES, outcome=EXAMPLES.outcome.copy())
    spoilt.outcome[-LAST_FIFTH:] = 1.0
    again = fit(replace(task_of("catboost"), examples=spoilt))

    assert len(result.judged.losses) == LAST_FIFTH
    assert again.artifact == result.artifact
    assert result.trained_until_ms + (1 + HORIZON) * HOUR_MS <= result.judged.as_of_ms.min()
    assert result.disagreement is None


def test_a_refresh_judges_a_fit_without_the_last_blocks_and_keeps_one_on_all_rows() -> None:
    result = fit(task_of("logistic", split=SplitKind.REFRESH))

    spoilt = replace(EXAMPLES, outcome=EXAMPLES.outcome.copy())
    spoilt.outcome[-LAST_FIFTH:] = 1.0
    again = fit(replace(task_of("logistic", split=SplitKind.REFRESH), examples=spoilt))

    assert result.n_train == len(EXAMPLES)
    assert result.n_effective == pytest.approx(len(EXAMPLES) / HORIZON)
    assert np.array_equal(again.judged.forecast, result.judged.forecast)
    assert again.artifact != result.artifact
    assert result.disagreement is not None
    assert 0 < result.disagreement < 0.1


def test_folds_are_judged_before_the_locked_holdout() -> None:
    result = fit(task_of("logistic", split=SplitKind.FOLDS))

    lean = fit(task_of("logistic"))
    assert len(result.judged.losses) > 3 * LAST_FIFTH
    assert result.judged.as_of_ms.max() < lean.judged.as_of_ms.min()
    assert result.artifact == lean.artifact


@pytest.mark.parametrize(
    ("kind", "target", "baselines"),
    [
        ("lightgbm", Target.DIRECTION, {"class_prior.direction"}),
        ("lightgbm", Target.VOLATILITY, {"ewma.volatility", "har.volatility"}),
        ("lightgbm", Target.QUANTILES, {"empirical.quantiles"}),
    ],
)
def test_losses_come_beside_those_of_the_baselines_on_the_same_rows(
    kind: str, target: Target, baselines: set[str]
) -> None:
    result = fit(task_of(kind, target))

    judged = result.judged
    tested = EXAMPLES.take(np.arange(len(EXAMPLES) - LAST_FIFTH, len(EXAMPLES)))
    assert np.array_equal(judged.answer.log_return, tested.log_return)
    assert np.array_equal(judged.losses, deciding_loss(target, judged.forecast, judged.answer))
    assert set(judged.baseline_losses) == baselines
    assert all(len(losses) == LAST_FIFTH for losses in judged.baseline_losses.values())
    assert (result.coverage is not None) == (target is Target.QUANTILES)
    assert result.finite == 1.0
    assert result.name == f"{kind}.{target}"


def test_what_there_is_to_learn_is_learnt() -> None:
    for kind in ("logistic", "xgboost", "lightgbm", "catboost"):
        judged = fit(task_of(kind)).judged

        prior = judged.baseline_losses["class_prior.direction"]
        assert judged.losses.mean() < 0.9 * prior.mean(), kind


def test_labels_that_are_not_yet_known_are_not_fitted() -> None:
    known_ms, direction_known_ms = EXAMPLES.known_ms.copy(), EXAMPLES.direction_known_ms.copy()
    known_ms[100:200] = direction_known_ms[100:200] = 0
    known = EXAMPLES.take(known_ms > 0)
    pending = replace(EXAMPLES, known_ms=known_ms, direction_known_ms=direction_known_ms)

    for target in (Target.DIRECTION, Target.VOLATILITY):
        task = task_of("lightgbm", target)
        with_pending = fit(replace(task, examples=pending))

        assert with_pending.artifact == fit(replace(task, examples=known)).artifact


@pytest.mark.parametrize("rows", [0, 3, 12])
@pytest.mark.parametrize("split", SplitKind)
def test_too_few_rows_are_refused(rows: int, split: SplitKind) -> None:
    few = EXAMPLES.take(np.arange(rows))

    with pytest.raises(ValueError, match="rows"):
        fit(replace(task_of("logistic", split=split), examples=few))


def test_rows_without_any_known_feature_are_refused() -> None:
    unknown = replace(EXAMPLES, features=np.full_like(EXAMPLES.features, np.nan))

    for kind, target in (("logistic", Target.DIRECTION), ("lightgbm", Target.VOLATILITY)):
        with pytest.raises(ValueError, match="no row"):
            fit(replace(task_of(kind, target), examples=unknown))


def test_rows_of_weight_zero_do_not_train() -> None:
    weight, features = EXAMPLES.weight.copy(), EXAMPLES.features.copy()
    weight[::3] = 0.0
    features[::3] *= 3
    lies = replace(EXAMPLES, weight=weight, features=features, outcome=-EXAMPLES.outcome)
    lies.outcome[weight > 0] = EXAMPLES.outcome[weight > 0]

    told = fit(replace(task_of("logistic"), examples=lies))

    truth = replace(EXAMPLES, weight=weight)
    assert told.artifact == fit(replace(task_of("logistic"), examples=truth)).artifact


def test_the_logistic_takes_the_median_of_its_training_rows_for_what_is_unknown() -> None:
    result = fit(task_of("logistic"))
    model = open_model(result.artifact, version="1")
    column = PANEL.columns.index("log_return_1")
    trained = EXAMPLES.direction_known_ms + HORIZON * HOUR_MS <= result.judged.as_of_ms.min()
    row = EXAMPLES.take(np.array([0]))
    unknown, median = row.features.copy(), row.features.copy()
    unknown[0, column] = np.nan
    median[0, column] = np.median(EXAMPLES.features[trained, column])

    forecast = model.forecast(Table(PANEL.columns, unknown))

    assert np.array_equal(forecast, model.forecast(Table(PANEL.columns, median)))
    assert not np.array_equal(forecast, model.forecast(Table.of(row)))


def test_the_data_hash_tells_one_changed_number() -> None:
    features = EXAMPLES.features.copy()
    features[5, 5] += 1e-12

    changed = data_sha256(replace(EXAMPLES, features=features), MODEL_COLUMNS)

    assert changed != data_sha256(EXAMPLES, MODEL_COLUMNS)
    assert data_sha256(EXAMPLES, MODEL_COLUMNS) == data_sha256(panel_examples(250), MODEL_COLUMNS)


def test_the_data_hash_tells_what_was_before() -> None:
    past = past_of(EXAMPLES, 3)
    rows = past.rows.copy()
    rows[7, 2] += 1e-9
    holed = replace(past, places=np.where(past.places == 7, -1, past.places))
    unread = np.concatenate((past.rows, rows))  # more than anyone reads

    hashes = [
        data_sha256(replace(EXAMPLES, past=one), MODEL_COLUMNS)
        for one in (None, past, replace(past, rows=rows), holed, replace(past, rows=unread))
    ]

    assert hashes[4] == hashes[1]
    assert len(set(hashes)) == 4


def test_a_baseline_is_judged_by_what_was_known_at_each_row() -> None:
    rows = np.array([700, 400, 60])

    forecast = progressive(ClassPrior(horizon=HORIZON), EXAMPLES, rows)

    for row, said in zip(rows, forecast, strict=True):
        known = EXAMPLES.direction_known_ms <= EXAMPLES.as_of_ms[row]
        prior = ClassPrior(horizon=HORIZON)
        prior.learn(EXAMPLES.take(known))
        assert np.array_equal(said, prior.forecast(Table.of(EXAMPLES.take(np.array([row]))))[0])


def test_the_future_of_a_row_does_not_change_what_a_baseline_said() -> None:
    rows = np.arange(500, 600)
    future = replace(EXAMPLES, realized_volatility=EXAMPLES.realized_volatility.copy())
    later = EXAMPLES.known_ms > EXAMPLES.as_of_ms[599]
    future.realized_volatility[later] *= 10

    said = progressive(Ewma(horizon=HORIZON), EXAMPLES, rows)

    assert np.array_equal(progressive(Ewma(horizon=HORIZON), future, rows), said)


def test_disagreement_by_hand() -> None:
    one, other = np.array([[0.2, 0.3, 0.5]]), np.array([[0.3, 0.3, 0.4]])

    assert disagree(Target.DIRECTION, one, other) == pytest.approx(0.1)
    assert disagree(Target.VOLATILITY, np.array([1.0]), np.array([np.e])) == pytest.approx(1.0)
    assert disagree(Target.QUANTILES, one, one + 0.03) == pytest.approx(0.1)
    assert np.isnan(disagree(Target.DIRECTION, one, np.full((1, 3), np.nan)))


def test_a_fitted_volatility_starts_from_har() -> None:
    """Trees that may not split add nothing, and least squares on the logs remains."""
    task = task_of("lightgbm", Target.VOLATILITY)
    stump = replace(task, recipe=task.recipe.changed(min_child=1e6))
    variances = [PANEL.columns.index(name) for name in (*VARIANCES, "ewma_variance")]
    logs = np.log(EXAMPLES.features[:, variances])
    regressors = np.column_stack((np.ones(len(EXAMPLES)), logs))

    result = fit(stump)

    seen = slice(0, result.n_train)
    answers = np.log(EXAMPLES.realized_volatility[seen] ** 2)
    coefficients = np.linalg.lstsq(regressors[seen], answers, rcond=None)[0]
    bias = np.exp(answers - regressors[seen] @ coefficients).mean()
    sigma = open_model(result.artifact, version="1").forecast(Table.of(EXAMPLES))
    assert sigma**2 == pytest.approx(np.exp(regressors @ coefficients) * bias, rel=1e-9)


def test_a_recipe_is_known_by_its_content() -> None:
    recipes = BUILT_IN.recipes
    recipe = recipes["xgboost.direction"]

    assert recipe.sha256 == Recipe.read(recipe.written()).sha256
    assert recipe.sha256 != recipe.changed(trees=recipe.parameters["trees"] + 1).sha256
    assert recipe.changed(leaves=3) == recipe
    assert len({each.sha256 for each in recipes.values()}) == len(recipes) == 8


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm", "catboost", "logistic"])
def test_what_matters_to_a_model_is_what_directions_follow(kind: str) -> None:
    result = fit(task_of(kind))

    found = result.importance
    assert found is not None
    assert found.rows == np.ceil(result.n_train / 100)
    assert set(found.features) == set(MODEL_COLUMNS)
    assert next(iter(found.features)).startswith("tilt")
    assert list(found.features.values()) == sorted(found.features.values(), reverse=True)


def test_importance_is_of_rows_that_judge_and_the_model_forecasts() -> None:
    unknown = replace(EXAMPLES, features=EXAMPLES.features.copy())
    unknown.features[-LAST_FIFTH:] = np.nan

    assert fit(replace(task_of("logistic"), examples=unknown)).importance is None


def test_a_kind_that_does_not_explain_has_no_importance() -> None:
    task = task_of("logistic")
    forest = replace(BUILT_IN, fitted=(*BUILT_IN.fitted, FOREST))
    recipe = FOREST.recipes[0].changed(trees=3)

    assert fit(replace(task, recipe=recipe), forest).importance is None
