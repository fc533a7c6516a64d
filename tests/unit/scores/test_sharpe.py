"""The deflated Sharpe ratio knows how many strategies were tried."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scores.sharpe import best_of, deflated_sharpe


def test_the_best_of_a_hundred_noise_strategies_rarely_looks_like_one() -> None:
    """Each run: 100 strategies of 250 days without worth, the best by its Sharpe ratio."""
    deflated, alone = [], []
    for seed in range(200):
        tried = np.random.default_rng(seed).standard_t(5, size=(100, 250)) / 100
        best = tried[np.argmax(tried.mean(axis=1) / tried.std(axis=1))]
        deflated.append(deflated_sharpe(best, 100))
        alone.append(deflated_sharpe(best, 1))

    assert np.mean(np.array(deflated) < 0.95) >= 0.95
    assert np.mean(np.array(alone) < 0.95) < 0.05  # who forgets the others is always taken in


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(0, 99))
def test_more_trials_never_make_it_larger(few: int, more: int, seed: int) -> None:
    returns = np.random.default_rng(seed).normal(0.05, 1.0, size=100)

    assert deflated_sharpe(returns, few + more) <= deflated_sharpe(returns, few)
    assert deflated_sharpe(returns, 100) < deflated_sharpe(returns, 1)


def test_it_is_the_formula() -> None:
    """With a skewness of 0 and a kurtosis of 3, as normal returns have about."""
    returns = np.random.default_rng(3).normal(0.1, 1.0, size=1_000)
    ratio = returns.mean() / returns.std()
    normal = (ratio - best_of(50) / math.sqrt(999)) * math.sqrt(999 / (1 + ratio**2 / 2))

    found = deflated_sharpe(returns, 50)

    assert found == pytest.approx(0.5 * math.erfc(-normal / math.sqrt(2)), abs=0.02)


def test_what_cannot_be_said_is_not_said() -> None:
    assert math.isnan(deflated_sharpe(np.array([0.1, 0.2]), 1))
    assert math.isnan(deflated_sharpe(np.full(10, 0.1), 1))
