"""Blocks of time and the test of their mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from domain.events import Floats
from domain.market import Horizon, Timeframe
from services.scores.blocks import BlockTest, Dates, block_means, block_test, winsorised

HORIZON = Horizon(Timeframe.H1, 2)  # blocks of four hours
HOUR = Timeframe.H1.ms


def dates(hours: list[int], *columns: list[float]) -> Dates:
    losses = np.array(columns, dtype=float).T
    return Dates(as_of_ms=np.array(hours) * HOUR, losses=losses, counts=np.full(len(hours), 3))


def test_a_block_is_the_mean_of_its_dates() -> None:
    found = block_means(dates([4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 7], [0] * 6), HORIZON)

    assert found.numbers.tolist() == [1, 2]
    assert found.losses.tolist() == [[2.5, 0], [6, 0]]
    assert found.counts.tolist() == [12, 6]


def test_a_block_with_less_than_half_of_its_dates_is_left_out() -> None:
    assert block_means(dates([4, 8, 9], [1, 2, 3]), HORIZON).numbers.tolist() == [2]


def test_forecasters_of_a_block_are_compared_on_the_dates_they_share() -> None:
    found = block_means(dates([4, 5, 6, 7], [1, 2, 3, 9], [1, 2, 3, np.nan]), HORIZON)

    assert found.losses.tolist() == [[2, 2]]
    assert found.counts.tolist() == [9]


def test_an_absent_forecaster_does_not_take_the_block_from_the_others() -> None:
    found = block_means(dates([4, 5], [1, 3], [np.nan, np.nan]), HORIZON)

    assert found.losses[0, 0] == 2
    assert np.isnan(found.losses[0, 1])


def test_no_dates_make_no_blocks() -> None:
    none = Dates(
        as_of_ms=np.empty(0, dtype=np.int64),
        losses=np.empty((0, 2)),
        counts=np.empty(0, dtype=np.int64),
    )

    assert block_means(none, HORIZON).losses.shape == (0, 2)


def test_without_correlation_the_test_is_student() -> None:
    values = np.array([1.0, -1.0, 2.0, -0.5, 1.5, -0.2])  # neighbours are negatively correlated
    expected = stats.ttest_1samp(values, 0.0, alternative="greater")

    found = block_test(values)

    assert found.p_above() == pytest.approx(expected.pvalue)
    assert found.p_below() == pytest.approx(1 - expected.pvalue)
    low, high = found.bounds(0.975)
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high))


def test_correlated_neighbours_widen_the_error() -> None:
    values = np.repeat([1.0, -1.0, 0.5, -0.5], 4)
    n, variance = len(values), values.var(ddof=1)
    covariance = (values[1:] @ values[:-1]) / (n - 1)

    assert block_test(values).error == pytest.approx(math.sqrt((variance + 2 * covariance) / n))
    assert block_test(values[::4]).error == pytest.approx(values[::4].std(ddof=1) / 2)
    assert block_test(values[::4], 0.25).error == pytest.approx(
        values[::4].std(ddof=1) / 2 * math.sqrt(1.5)
    )


@pytest.mark.parametrize(("values", "p"), [([], 1), ([3.0], 1), ([2.0, 2.0], 0), ([0.0, 0.0], 1)])
def test_what_cannot_be_tested_proves_nothing(values: list[float], p: float) -> None:
    assert block_test(np.array(values)).p_above() == p


def test_one_block_bounds_nothing() -> None:
    assert BlockTest(1.0, math.nan, 1).bounds(0.95) == (-math.inf, math.inf)


def test_winsorising_draws_in_one_value_in_a_hundred_on_each_side() -> None:
    values: Floats = np.arange(101.0)
    values[0], values[100] = -1e9, 1e9

    found = winsorised(values)

    assert (found.min(), found.max()) == (1, 99)
    assert (found[1:-1] == values[1:-1]).all()
