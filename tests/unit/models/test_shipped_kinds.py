"""The kinds that are shipped as plug-ins forecast what their libraries do."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import ElasticNet, Ridge

from alphapulse_testing.panel import EXAMPLES, HORIZON, MODEL_COLUMNS, PANEL, new_rows
from domain.events import Examples, Floats
from services.models.forecaster import Forecaster, Table
from services.models.forest import PLUGIN as FOREST
from services.models.kinds import FittedKind
from services.models.linear import ELASTIC_NET, RIDGE
from services.models.recipes import Recipe
from services.models.sample import medians, sample_weights

LEAST = {"trees": 20, "min_child": 5.0}


def opened(kind: FittedKind, recipe: Recipe, rows: Examples = EXAMPLES) -> Forecaster:
    fitted = kind.fit(rows, MODEL_COLUMNS, recipe, HORIZON, 3)
    frame = {"kind": kind.name, "target": recipe.target, "horizon": HORIZON}
    return kind.open({**fitted.numbers, **frame, "columns": MODEL_COLUMNS}, fitted.files, "1")


def inputs_of(rows: Floats) -> Floats:
    return rows[:, [PANEL.columns.index(name) for name in MODEL_COLUMNS]]


def test_the_forest_is_scikit_learns_with_one_row_of_the_prior_in_each_leaf() -> None:
    recipe = FOREST.recipes[0].changed(**LEAST)
    wanted = recipe.parameters
    known = inputs_of(EXAMPLES.features)
    rows = np.vstack((known, np.tile(medians(known), (3, 1))))
    answers = np.concatenate((EXAMPLES.outcome, [-1.0, 0.0, 1.0]))
    weights = np.concatenate((sample_weights(EXAMPLES), np.ones(3)))
    theirs = RandomForestClassifier(
        n_estimators=20,
        max_depth=wanted["depth"],
        min_samples_leaf=5,
        max_features=wanted["feature_fraction"],
        max_samples=wanted["row_fraction"],
        random_state=3,
    ).fit(rows, answers, sample_weight=weights)
    prior = np.bincount(answers.astype(int) + 1, weights=weights) / weights.sum()
    asked = new_rows()
    for row, one in zip(asked.values, theirs.estimators_, strict=False):  # on the edge of a split
        column = PANEL.columns.index(MODEL_COLUMNS[one.tree_.feature[0]])
        row[column] = one.tree_.threshold[0]

    said = opened(FOREST, recipe).predict(asked)

    parts = []
    for tree in (one.tree_ for one in theirs.estimators_):
        leaf = tree.apply(inputs_of(asked.values).astype(np.float32))
        count = tree.weighted_n_node_samples[leaf][:, None]
        parts.append((tree.value[leaf, 0] * count + prior) / (count + 1))
    assert said == pytest.approx(np.mean(parts, axis=0), abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "regression"),
    [(RIDGE, Ridge(**RIDGE.parameters)), (ELASTIC_NET, ElasticNet(**ELASTIC_NET.parameters))],
)
def test_a_linear_map_of_ranks_is_scikit_learns(
    kind: FittedKind, regression: Ridge | ElasticNet
) -> None:
    column = PANEL.columns.index("tilt_rank")
    regression.fit(
        EXAMPLES.features[:, [column]] - 0.5,
        EXAMPLES.outcome,
        sample_weight=sample_weights(EXAMPLES),
    )
    direction = next(recipe for recipe in kind.recipes if recipe.target == "direction")

    numbers = kind.fit(EXAMPLES, MODEL_COLUMNS, direction, HORIZON, 3).numbers

    assert numbers["ranks"] == ("tilt_rank",)
    assert [*numbers["slopes"], numbers["level"]] == pytest.approx(
        [*regression.coef_, regression.intercept_]
    )


def test_only_ranks_decide_and_an_unknown_one_is_the_middle() -> None:
    direction = next(recipe for recipe in RIDGE.recipes if recipe.target == "direction")
    volatility = next(recipe for recipe in RIDGE.recipes if recipe.target == "volatility")
    batch, column = new_rows(), PANEL.columns.index("tilt_rank")
    others, middle, unknown = (batch.values.copy() for _ in range(3))
    others[:, PANEL.columns.index("noise")] += 5.0
    middle[:, column], unknown[:, column] = 0.5, np.nan

    model, sigma = opened(RIDGE, direction), opened(RIDGE, volatility)

    said, again = (model.forecast(Table(PANEL.columns, rows)) for rows in (batch.values, others))
    assert np.array_equal(said, again)
    half, none = (Table(PANEL.columns, rows) for rows in (middle, unknown))
    assert np.array_equal(sigma.forecast(half), sigma.forecast(none))
    assert np.isnan(model.forecast(none)).all()


def test_without_a_rank_there_is_nothing_to_fit() -> None:
    columns = tuple(name for name in MODEL_COLUMNS if "_rank" not in name)

    with pytest.raises(ValueError, match="no column is a rank"):
        RIDGE.fit(EXAMPLES, columns, RIDGE.recipes[0], HORIZON, 3)
