"""Our walk through LightGBM's trees beside the library's own."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from domain.errors import ArtifactError
from domain.events import Floats
from services.models.engines import ENGINES, Task, TreeParameters
from services.models.trees import read_lightgbm


def inputs(rows: int, *, unknown: float, seed: int = 0) -> Floats:
    """Columns of different scales, one of them often 0; a share of all is NaN."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, 6)) * [1.0, 1e-3, 1e3, 1.0, 1e-36, 1.0]
    table[:, 3] = np.round(table[:, 3])
    table[rng.random(table.shape) < unknown] = np.nan
    return table


def trained(objective: str, *, unknown: float) -> bytes:
    table = inputs(3_000, unknown=unknown)
    rng = np.random.default_rng(1)
    answers = np.nan_to_num(table[:, 0]) + rng.normal(size=len(table))
    if objective == "classes":
        answers = np.digitize(answers, [-0.5, 0.5]).astype(np.float64)
    task = Task(
        inputs=table,
        answers=answers,
        weights=np.ones(len(table)),
        objective=objective,
        levels=(0.5,),
        parameters=TreeParameters(trees=70, learning_rate=0.08),
        seed=3,
    )
    (model,) = ENGINES["lightgbm"].train(task)
    return model


@pytest.mark.parametrize("objective", ["classes", "mean", "quantile"])
@pytest.mark.parametrize("unknown", [0.0, 0.2])
def test_scores_are_the_librarys_to_the_bit(objective: str, unknown: float) -> None:
    model = trained(objective, unknown=unknown).decode()
    asked = inputs(500, unknown=0.2, seed=2)  # unknown values also where training had none
    theirs = lightgbm.Booster(model_str=model).predict(asked, raw_score=True, num_threads=1)
    np.testing.assert_array_equal(read_lightgbm(model).raw(asked), theirs)


def test_a_tree_of_one_leaf_is_a_constant() -> None:
    table = np.zeros((300, 2))
    data = lightgbm.Dataset(table, label=np.full(300, 2.5), params={"verbosity": -1})
    model = lightgbm.train({"verbosity": -1}, data, num_boost_round=2).model_to_string()
    theirs = lightgbm.Booster(model_str=model).predict(table, raw_score=True)
    np.testing.assert_array_equal(read_lightgbm(model).raw(table), theirs)


@pytest.mark.parametrize(
    ("found", "put"),
    [("num_leaves=", "num_leaves=9"), ("leaf_value=", "leaf_value=x "), ("end of trees", "")],
)
def test_a_damaged_text_is_refused(found: str, put: str) -> None:
    model = trained("mean", unknown=0.0).decode()
    assert found in model
    with pytest.raises(ArtifactError):
        read_lightgbm(model.replace(found, put, 1))
