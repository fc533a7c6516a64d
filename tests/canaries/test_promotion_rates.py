"""How often the promotion policy errs, measured through the policy itself on 200 fixed seeds."""

from __future__ import annotations

import pytest

from domain.market import Horizon, Timeframe
from services.scores.promotion_rates import Stream, challenge_rate, cold_start_rate, searched_rate

pytestmark = pytest.mark.canaries

SEEDS = range(200)
H4 = Horizon(Timeframe.H1, 4)
EQUAL = Stream(gain=0.0, block_spread=0.05, horizon=H4)
BETTER = Stream(gain=0.02, block_spread=0.05, horizon=H4)


def test_equal_challengers_are_promoted_within_a_year_no_oftener_than_budgeted() -> None:
    assert challenge_rate(EQUAL, days=365, seeds=SEEDS).low <= 0.05


def test_a_challenger_two_percent_better_is_promoted_within_45_days() -> None:
    assert challenge_rate(BETTER, days=45, seeds=SEEDS).share >= 0.80


def test_noise_is_cold_started_within_a_year_of_monthly_fits_no_oftener_than_budgeted() -> None:
    assert cold_start_rate(EQUAL, attempts=12, blocks=50, seeds=SEEDS).low <= 0.05


def test_the_best_of_a_hundred_noise_variants_starts_no_oftener_than_budgeted() -> None:
    by_folds = searched_rate(EQUAL, trials=100, blocks=50, seeds=SEEDS, seen=False)
    by_the_holdout_itself = searched_rate(EQUAL, trials=100, blocks=50, seeds=SEEDS, seen=True)

    assert by_folds.low <= 0.05
    assert by_the_holdout_itself.low <= 0.05
