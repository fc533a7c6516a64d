"""Skill, its interval, and its spread over instruments."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from domain.events import Floats
from domain.market import Horizon, Timeframe
from services.scores.skill import DAY_MS, ScoredRows, pooled_skill
from tests.benchmarks.skills import skill_by_instrument, spread

H4 = Horizon(Timeframe.H1, 4)


def rows(days: int, gain: float = 0.0, noise: float = 0.1, seed: int = 0) -> ScoredRows:
    """Two instruments, each hour of `days`; the baseline's loss is about 1."""
    rng = np.random.default_rng(seed)
    n = days * 24 * 2
    as_of = np.repeat(np.arange(days * 24) * Timeframe.H1.ms, 2)
    baseline = 1 + noise * rng.normal(size=n)
    loss: Floats = baseline - gain + noise * rng.normal(size=n)
    return ScoredRows(
        as_of_ms=as_of, instrument=np.tile([0, 1], days * 24), loss=loss, baseline_loss=baseline
    )


def test_skill_is_one_minus_the_ratio_of_means_of_daily_means() -> None:
    found = pooled_skill(
        ScoredRows(
            as_of_ms=np.array([0, 1, 2, DAY_MS]),
            instrument=np.zeros(4, dtype=np.int64),
            loss=np.array([1.0, 1, 1, 3]),  # days: 1 and 3, not 1.5
            baseline_loss=np.array([2.0, 2, 2, 6]),
        ),
        H4,
    )

    assert (found.loss, found.baseline_loss, found.skill) == (2, 4, 0.5)
    assert (found.days, found.count) == (2, 4)


def test_with_fewer_than_two_blocks_of_days_there_is_no_interval() -> None:
    nine, ten = pooled_skill(rows(9), H4), pooled_skill(rows(10), H4)

    assert math.isnan(nine.low)
    assert not math.isnan(ten.low)
    # Twice the horizon is the block where it is longer: 2 × 4 days.
    slow = Horizon(Timeframe.D1, 4)
    assert math.isnan(pooled_skill(rows(15), slow).low)
    assert not math.isnan(pooled_skill(rows(16), slow).low)


def test_the_interval_holds_the_skill_and_is_the_same_with_the_same_seed() -> None:
    first, again = pooled_skill(rows(60, 0.1), H4, seed=3), pooled_skill(rows(60, 0.1), H4, seed=3)

    assert first == again
    assert first.low < first.skill < first.high
    assert pooled_skill(rows(60, 0.1), H4, seed=4) != first


def test_the_interval_covers_a_skill_of_nothing_about_as_often_as_it_says() -> None:
    found = [pooled_skill(rows(40, seed=seed), H4) for seed in range(60)]
    covered = sum(one.low <= 0 <= one.high for one in found)

    assert 50 <= covered <= 60
    assert all(pooled_skill(rows(40, 0.1, seed=seed), H4).low > 0 for seed in range(10))


def test_rows_without_both_losses_are_left_out() -> None:
    whole = rows(20, 0.1)
    holed = ScoredRows(
        as_of_ms=whole.as_of_ms,
        instrument=whole.instrument,
        loss=np.where(whole.instrument == 1, np.nan, whole.loss),
        baseline_loss=whole.baseline_loss,
    )

    assert pooled_skill(holed, H4) == pooled_skill(whole.where(whole.instrument == 0), H4)


@pytest.mark.parametrize("value", [lambda: rows(0), lambda: rows(3).where(np.zeros(144, bool))])
def test_no_rows_have_no_skill(value: Callable[[], ScoredRows]) -> None:
    found = pooled_skill(value(), H4)

    assert math.isnan(found.skill)
    assert found.count == 0


def test_a_baseline_without_loss_has_no_skill_above_it() -> None:
    perfect = rows(3)
    zero = ScoredRows(
        as_of_ms=perfect.as_of_ms,
        instrument=perfect.instrument,
        loss=perfect.loss,
        baseline_loss=np.zeros_like(perfect.loss),
    )

    assert math.isnan(pooled_skill(zero, H4).skill)


def test_the_spread_over_instruments_is_their_median_and_share_above_zero() -> None:
    whole = rows(20)
    gain = np.where(whole.instrument == 0, 0.5, -0.2)
    apart = ScoredRows(
        as_of_ms=whole.as_of_ms,
        instrument=whole.instrument,
        loss=whole.baseline_loss * (1 - gain),
        baseline_loss=whole.baseline_loss,
    )

    by_instrument = skill_by_instrument(apart, H4)

    assert [one.skill for one in by_instrument.values()] == pytest.approx([0.5, -0.2])
    assert spread(by_instrument) == pytest.approx((0.15, 0.5))
    assert math.isnan(spread({})[0])
