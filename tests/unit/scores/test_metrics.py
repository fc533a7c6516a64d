"""The losses of single rows, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from domain.events import Floats
from domain.losses import brier, covered, log_loss, pinball, qlike
from services.scores.metrics import calibration_error, daily_auc

NAN = np.nan


def table(*rows: list[float]) -> Floats:
    return np.array(rows, dtype=np.float64)


def test_log_loss_is_that_of_the_class_that_came() -> None:
    said = table([0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5])

    assert log_loss(said, np.array([-1.0, 0.0, 1.0])) == pytest.approx(-np.log([0.2, 0.3, 0.5]))


def test_a_certain_error_costs_34_and_a_half_nats_not_infinity() -> None:
    assert log_loss(table([1, 0, 0]), np.array([1.0])) == pytest.approx([-np.log(1e-15)])


def test_brier_counts_all_three_classes() -> None:
    assert brier(table([0.5, 0.3, 0.2]), np.array([1.0])) == pytest.approx([0.25 + 0.09 + 0.64])


def test_pinball_weighs_each_side_by_the_level() -> None:
    # Return 0.1: misses are 0.2, 0.1 and −0.1.
    found = pinball(table([-0.1, 0.0, 0.2]), np.array([0.1]))

    assert found == pytest.approx([(0.1 * 0.2 + 0.5 * 0.1 + 0.1 * 0.1) / 3])


def test_qlike_is_least_where_the_forecast_is_right() -> None:
    forecasts = np.array([0.005, 0.0099, 0.01, 0.0101, 0.02])
    found = qlike(forecasts, np.full(5, 0.01))

    assert found[2] == pytest.approx(0.0, abs=1e-15)
    assert found.argmin() == 2
    assert found[0] == pytest.approx(4 - np.log(4) - 1)


def test_qlike_leaves_out_horizons_in_which_nothing_moved() -> None:
    found = qlike(np.full(3, 0.01), np.sqrt([0.0, 0.9e-9, 1.1e-9]))

    assert np.isnan(found).tolist() == [True, True, False]


def test_a_forecast_of_no_volatility_costs_and_is_not_left_out() -> None:
    found = qlike(np.array([0.0, -1.0]), np.array([0.01, 0.01]))

    assert (found > 1e4).all()
    assert np.isfinite(found).all()


def test_coverage_includes_both_ends() -> None:
    said = table(*[[-0.1, 0.0, 0.1]] * 4)

    assert covered(said, np.array([-0.1, 0.1, 0.11, NAN])).tolist()[:3] == [1, 1, 0]


def test_what_is_not_known_has_no_loss() -> None:
    unsaid, said = table([NAN, NAN, NAN]), table([0.2, 0.3, 0.5])
    edges, one, void = table([-0.1, 0, 0.1]), np.array([0.01]), np.array([NAN])

    for loss in (log_loss, brier):
        assert np.isnan(loss(unsaid, np.array([1.0]))).all()
        assert np.isnan(loss(said, void)).all()
    for spread in (pinball, covered):
        assert np.isnan(spread(unsaid, one)).all()
        assert np.isnan(spread(edges, void)).all()
    assert np.isnan(qlike(void, np.array([0.02]))).all()
    assert np.isnan(qlike(one, void)).all()


def test_the_calibration_error_is_the_distance_of_what_was_said_from_what_came() -> None:
    outcome = np.repeat([-1.0, 0.0, 1.0], [20, 30, 50])
    right = np.tile([0.2, 0.3, 0.5], (100, 1))
    wrong = np.tile([0.2, 0.45, 0.35], (100, 1))

    assert calibration_error(right, outcome) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(wrong, outcome) == pytest.approx((0 + 0.15 + 0.15) / 3)
    assert np.isnan(calibration_error(right[:1], np.array([NAN])))


def test_the_calibration_error_sees_errors_that_cancel_on_average() -> None:
    outcome = np.tile([-1.0, 1.0], 50)
    bold = np.where(outcome[:, None] > 0, [0.8, 0.0, 0.2], [0.2, 0.0, 0.8])

    assert calibration_error(bold, outcome) == pytest.approx((0.8 + 0 + 0.8) / 3)


def test_the_daily_auc_counts_pairs_within_days() -> None:
    rng = np.random.default_rng(1)
    score = rng.integers(0, 4, (6, 12)).astype(float)
    outcome = rng.choice([-1.0, 0.0, 1.0, NAN], (6, 12))
    score[0, :3] = NAN
    days = []
    for said, came in zip(score, outcome, strict=True):
        known = ~np.isnan(said)
        ups, downs = said[known & (came == 1)], said[known & (came == -1)]
        wins = [(up > down) + 0.5 * (up == down) for up in ups for down in downs]
        days.append(np.mean(wins))

    assert daily_auc(score, outcome) == pytest.approx(np.mean(days))


def test_a_level_that_follows_the_days_is_no_skill() -> None:
    # Ups come on up days and the score knows the day, but nothing within it.
    outcome = np.array([[1.0, 1, 1, -1], [-1, -1, -1, 1]] * 10)
    score = np.repeat([[0.9], [0.1]] * 10, 4, axis=1)

    assert daily_auc(score, outcome) == 0.5


def test_an_auc_without_a_pair_is_not_known() -> None:
    assert np.isnan(daily_auc(np.ones((2, 3)), np.ones((2, 3))))
