"""A class label is of its horizon, and of limits that were known at its close."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.classes import ClassLabelBatch
from services.classes.regime import REGIME
from services.classes.rotation import ROTATION
from tests.unit.classes.walked import HORIZON, NAMES, features, hour, labels, room, told, walk

CLOSES = 90
SHORT = replace(REGIME, memory=80)  # its rule, and a walk that is soon done
KINDS = (SHORT, ROTATION)


def returns(seed: int) -> np.ndarray:
    """With volatility that comes and goes, and holes."""
    rng = np.random.default_rng(seed)
    moved = rng.normal(0, 0.01, (CLOSES, len(NAMES)))
    moved *= np.exp(rng.normal(0, 0.5, (CLOSES, 1)))
    moved[rng.random(moved.shape) < 0.02] = np.nan
    return moved


def at(came: list[ClassLabelBatch], limit: int) -> dict[tuple[object, ...], int]:
    return {key: one for key, one in told(came).items() if key[1] <= hour(limit)}


@given(seed=st.integers(0, 2**16), close=st.integers(60, CLOSES - 2 * HORIZON))
@settings(max_examples=4, deadline=None)
def test_truncation_changes_no_label_that_was_known(seed: int, close: int) -> None:
    moved = returns(seed)

    _, whole = walk(room(*KINDS), moved)
    _, cut = walk(room(*KINDS), moved[: close + HORIZON + 1])

    assert at(whole, close) == at(cut, close)


@given(seed=st.integers(0, 2**16), close=st.integers(60, CLOSES - 2 * HORIZON))
@settings(max_examples=4, deadline=None)
def test_a_shock_of_later_labels_changes_none_before_it(seed: int, close: int) -> None:
    moved, shocked = returns(seed), returns(seed)
    shocked[close + 1 :] *= 10

    _, before = walk(room(*KINDS), moved)
    _, after = walk(room(*KINDS), shocked)

    assert at(before, close) == at(after, close)


@given(close=st.integers(20, CLOSES - HORIZON - 1))
@settings(max_examples=4, deadline=None)
def test_a_kind_is_told_of_labels_that_were_known_at_the_close(close: int) -> None:
    """Those of the closes just before overlap its own horizon, and are known only within it."""
    classes = room(SHORT)
    walk(classes, np.random.default_rng(2).normal(0, 0.01, (CLOSES, len(NAMES))))

    past = classes.grid.close(hour(close), close).past_log_return

    assert np.isfinite(past).all(axis=1).tolist() == [True] * (close - 3) + [False] * 3


@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_a_label_that_comes_late_is_no_limit_before_it_came(size: float) -> None:
    """A gap that is filled at close 99 says nothing of a regime of close 95."""
    moved = np.random.default_rng(5).normal(0, 0.01, (100, len(NAMES)))
    holed = moved.copy()
    holed[40:70] = np.nan
    classes = room(REGIME)
    for number in range(100):
        list(classes.on_features(features(number)))
        if number >= HORIZON:
            list(classes.on_labels(labels(number - HORIZON, holed[number - HORIZON])))
    expected = REGIME.tell(classes.grid.close(hour(95), REGIME.memory))

    for number in range(40, 70):
        list(classes.on_labels(labels(number, np.full(len(NAMES), size), known=99)))

    assert REGIME.tell(classes.grid.close(hour(95), REGIME.memory)).tolist() == expected.tolist()
    told_now = classes.grid.close(hour(99), REGIME.memory).past_realized_volatility
    assert np.isfinite(told_now).all(axis=1).sum() == 96
