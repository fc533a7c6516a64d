"""A search is judged by folds before the locked holdout, and chooses from what it was told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alphapulse_testing.panel import EXAMPLES, HORIZON, HOUR_MS, MODEL_COLUMNS
from domain.events import Examples
from services.models.boosters import LIGHTGBM
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitTask
from services.models.searching import losses_of_folds
from services.models.space import propose
from services.models.walk_forward import History, SplitKind, lean_split

RECIPE = BUILT_IN.recipes["logistic.direction"]


def task(examples: Examples) -> FitTask:
    return FitTask(
        recipe=RECIPE,
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=examples,
        split=SplitKind.LEAN,
        seed=7,
    )


def test_nothing_of_the_holdout_is_looked_at() -> None:
    times = History(EXAMPLES.as_of_ms, EXAMPLES.direction_known_ms, embargo_ms=HORIZON * HOUR_MS)
    holdout = lean_split(times).test
    outcome, features = EXAMPLES.outcome.copy(), EXAMPLES.features.copy()
    outcome[holdout] *= -1
    features[holdout] = 0.0

    losses = losses_of_folds(task(EXAMPLES))

    assert len(losses) > 1
    assert np.isfinite(losses).all()
    assert losses_of_folds(task(replace(EXAMPLES, outcome=outcome, features=features))) == losses


def test_other_parameters_have_other_losses() -> None:
    stiff = replace(task(EXAMPLES), recipe=RECIPE.changed(l2=10_000.0))

    assert losses_of_folds(stiff) != losses_of_folds(task(EXAMPLES))


def test_without_rows_nothing_is_said() -> None:
    with pytest.raises(ValueError, match="no rows"):
        losses_of_folds(task(EXAMPLES.take(np.array([], dtype=np.int64))))


def test_a_choice_follows_from_the_record_and_its_seed() -> None:
    own = BUILT_IN.recipes["lightgbm.volatility"].parameters
    tried = [({name: own[name] for name in LIGHTGBM.space}, 0.5)]
    for seed in range(12):
        chosen = propose(LIGHTGBM.space, tried, seed)
        assert chosen == propose(LIGHTGBM.space, list(tried), seed)
        assert all(one.low <= chosen[name] <= one.high for name, one in LIGHTGBM.space.items())
        assert isinstance(chosen["depth"], int)
        tried.append((chosen, 0.4 + abs(chosen["depth"] - 3) / 10))

    assert len({tuple(choice.items()) for choice, _ in tried}) == len(tried)


def test_it_learns_from_what_it_tried() -> None:
    space = {"l2": BUILT_IN.kinds["logistic"].space["l2"]}  # type: ignore[attr-defined]
    tried = [({"l2": 100.0}, np.log(5.0) ** 2)]
    for seed in range(40):
        chosen = propose(space, tried, seed)
        tried.append((chosen, float(np.log(chosen["l2"] / 500.0)) ** 2))

    late = [loss for _, loss in tried[-10:]]
    assert np.median(late) < np.median([loss for _, loss in tried[:11]])
