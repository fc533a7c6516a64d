"""Value at risk, expected shortfall and correlations of what is held."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.risk import BARS, FEWEST, risk_of


def moved(n: int, *, seed: int = 3, together: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 0.01, (BARS, 1))
    return together * common + (1 - together) * rng.normal(0, 0.01, (BARS, n))


def test_the_risk_of_one_position_is_that_of_a_normal_return() -> None:
    swings = np.tile([[0.01], [-0.01]], (BARS // 2, 1))

    risk = risk_of(np.array([0.5]), swings)

    assert risk is not None
    assert risk.value_at_risk == pytest.approx(0.5 * 0.01 * 1.644854, rel=1e-6)
    assert risk.expected_shortfall == pytest.approx(0.5 * 0.01 * 2.062713, rel=1e-6)


def test_a_short_position_hedges_a_long_one_that_moves_with_it() -> None:
    returns = moved(2, together=0.97)

    both, hedged = (risk_of(np.array([0.5, side]), returns) for side in (0.5, -0.5))

    assert both is not None
    assert hedged is not None
    assert hedged.value_at_risk < 0.2 * both.value_at_risk
    assert both.correlation[0, 1] > 0.9


def test_what_moves_apart_is_shrunk_more_than_what_moves_together() -> None:
    apart, together = (risk_of(np.full(6, 0.1), moved(6, together=share)) for share in (0.0, 0.8))

    assert apart is not None
    assert together is not None
    assert apart.shrinkage > 0.6
    assert together.shrinkage < 0.1
    assert np.abs(apart.correlation - np.eye(6)).max() < 0.2


def test_a_price_that_stands_still_has_no_risk() -> None:
    returns = np.column_stack([moved(1)[:, 0], np.zeros(BARS)])

    still = risk_of(np.array([0.0, 0.9]), returns)

    assert still is not None
    assert still.value_at_risk == 0.0
    assert np.array_equal(still.correlation, np.eye(2))


def test_nothing_is_said_of_too_few_returns_or_of_nothing() -> None:
    returns = moved(2)
    returns[FEWEST - 1 :, 1] = np.nan

    assert risk_of(np.array([0.1, 0.1]), returns) is None
    assert risk_of(np.empty(0), returns[:, :0]) is None


@given(st.integers(1, 8), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_correlations_are_those_of_something(n: int, seed: int, together: float) -> None:
    risk = risk_of(np.full(n, 1 / n), moved(n, seed=seed, together=together)[-FEWEST:])

    assert risk is not None
    assert 0 <= risk.shrinkage <= 1
    assert np.linalg.eigvalsh(risk.correlation).min() > -1e-9
    assert np.allclose(np.diag(risk.correlation), 1.0)
    assert np.abs(risk.correlation).max() <= 1 + 1e-9
