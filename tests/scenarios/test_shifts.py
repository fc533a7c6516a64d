"""The band of shifted scores, on rows whose truth is known."""

from __future__ import annotations

import numpy as np

from tests.scenarios.shifts import auc_against_shifts


def test_the_shift_band_finds_a_planted_signal_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(2)
    outcome = rng.choice([-1.0, 1.0], (40, 48))
    planted = outcome + rng.normal(0, 4, outcome.shape)

    found, middle, _, p = auc_against_shifts(planted, outcome)
    noise = [auc_against_shifts(rng.normal(size=(40, 48)), outcome)[3] for _ in range(20)]

    assert found > 0.55
    assert abs(middle - 0.5) < 0.01
    assert p < 0.001
    assert min(noise) > 0.001


def test_scores_that_are_the_same_every_day_prove_nothing() -> None:
    outcome = np.tile([1.0, -1.0, 1.0, -1.0], (20, 1))

    assert auc_against_shifts(outcome, outcome)[3] == 1.0


def test_without_a_pair_nothing_is_known() -> None:
    assert np.isnan(auc_against_shifts(np.ones((2, 3)), np.ones((2, 3)))[3])
