"""The model that learns label by label is River's, evaluated by numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from river import compose, linear_model, optim, preprocessing

from alphapulse_testing.panel import (
    HORIZON,
    MODEL_COLUMNS,
    PANEL,
    panel_batch,
    panel_examples,
    panel_features,
)
from domain.errors import ArtifactError
from services.models.online import CLASSES, DECAY, FIRST_STEP, RiverSoftmax, bounded

EXAMPLES = panel_examples(60)


def taught() -> RiverSoftmax:
    model = RiverSoftmax(MODEL_COLUMNS, horizon=HORIZON)
    model.learn(EXAMPLES)
    return model


def rows_for_river(count: int) -> list[dict[str, float]]:
    values = panel_features(count, seed=5)
    chosen = values[:, [PANEL.columns.index(name) for name in MODEL_COLUMNS]]
    return [dict(zip(MODEL_COLUMNS, row.tolist(), strict=True)) for row in chosen]


def test_numpy_forecasts_what_river_does() -> None:
    model = taught()

    forecast = model.predict(panel_batch(panel_features(50, seed=5)))

    river = [model.pipeline.predict_proba_one(row) for row in rows_for_river(50)]
    expected = [[row[value] for value in CLASSES] for row in river]
    assert forecast == pytest.approx(np.array(expected), abs=1e-9)


def test_its_steps_are_those_of_rivers_own_sgd() -> None:
    regression = linear_model.SoftmaxRegression(
        optim.SGD(optim.schedulers.InverseScaling(FIRST_STEP, DECAY))
    )
    for value in CLASSES:
        regression.weights[value].update(dict.fromkeys((*MODEL_COLUMNS, "intercept"), 0.0))
    pipeline = preprocessing.StandardScaler() | compose.FuncTransformer(bounded) | regression
    chosen = EXAMPLES.features[:, [PANEL.columns.index(name) for name in MODEL_COLUMNS]]
    for row, outcome in zip(chosen, EXAMPLES.outcome, strict=True):
        pipeline.learn_one(dict(zip(MODEL_COLUMNS, row.tolist(), strict=True)), int(outcome))

    model = taught()

    for row in rows_for_river(5):
        assert model.pipeline.predict_proba_one(row) == pipeline.predict_proba_one(row)


def test_a_third_each_before_anything_is_learnt() -> None:
    model = RiverSoftmax(MODEL_COLUMNS, horizon=HORIZON)

    forecast = model.predict(panel_batch(panel_features(2)))

    assert forecast == pytest.approx(1 / 3)


def test_examples_without_a_feature_or_a_weight_are_not_learnt_and_the_first_are_counted() -> None:
    model = RiverSoftmax(MODEL_COLUMNS, horizon=HORIZON)
    features = EXAMPLES.features.copy()
    features[3:8, PANEL.columns.index("noise")] = np.nan
    weight = EXAMPLES.weight.copy()
    weight[7:11] = 0.0

    model.learn(replace(EXAMPLES, features=features, weight=weight))

    assert (model.learnt, model.skipped) == (len(EXAMPLES) - 8, 4)


def test_the_state_of_other_columns_is_refused() -> None:
    other = RiverSoftmax(MODEL_COLUMNS[::-1], horizon=HORIZON)

    with pytest.raises(ArtifactError, match="other columns"):
        other.restore(taught().snapshot())


def test_the_order_of_the_examples_matters() -> None:
    back = RiverSoftmax(MODEL_COLUMNS, horizon=HORIZON)
    back.learn(EXAMPLES.take(np.arange(len(EXAMPLES))[::-1]))

    assert back.snapshot() != taught().snapshot()


def test_the_same_examples_give_the_same_state() -> None:
    assert taught().snapshot() == taught().snapshot()
