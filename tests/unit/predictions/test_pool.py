"""The pool weighs its members by what they scored and forgets none."""

from __future__ import annotations

import numpy as np
import pytest

from services.predictions.calibration import Recalibration
from services.predictions.conformal import ConformalQuantiles
from services.predictions.pool import Pool, pool_probabilities, pool_quantiles, pool_volatility


def test_weights_start_equal_and_sum_to_one() -> None:
    pool = Pool(horizon=4, discount=0.999, rate=1.0)

    weights = pool.weights(["a", "b", "c", "d"])

    assert weights.tolist() == pytest.approx([0.25] * 4)


def test_the_better_member_gains_the_weight_and_the_worse_keeps_a_share() -> None:
    pool = Pool(horizon=1, discount=0.999, rate=1.0)
    for _ in range(500):
        pool.learn({"good": np.full(10, 1.00), "bad": np.full(10, 1.05)})

    weights = dict(zip(["good", "bad"], pool.weights(["good", "bad"]), strict=True))

    assert weights["good"] > 0.99
    assert weights["bad"] >= 0.001


def test_a_member_that_becomes_better_recovers() -> None:
    pool = Pool(horizon=1, discount=0.99, rate=1.0)
    for _ in range(500):
        pool.learn({"a": np.full(3, 1.0), "b": np.full(3, 1.2)})
    for _ in range(500):
        pool.learn({"a": np.full(3, 1.2), "b": np.full(3, 1.0)})

    assert pool.weights(["a", "b"])[1] > 0.9


def test_a_tick_that_one_member_did_not_judge_teaches_nothing() -> None:
    pool = Pool(horizon=1, discount=0.99, rate=1.0)

    pool.learn({"a": np.array([np.nan]), "b": np.array([0.1])})

    assert pool.weights(["a", "b"]).tolist() == pytest.approx([0.5, 0.5])


def test_a_member_without_a_forecast_sits_a_row_out() -> None:
    sure = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
    silent = np.array([[np.nan] * 3, [0.1, 0.1, 0.8]])

    pooled = pool_probabilities([sure, silent], np.array([0.5, 0.5]))

    assert pooled[0].tolist() == pytest.approx([0.8, 0.1, 0.1])
    assert pooled[1, 0] == pytest.approx(pooled[1, 2])
    assert pooled.sum(axis=1).tolist() == pytest.approx([1.0, 1.0])


def test_a_row_that_nobody_judged_stays_unknown() -> None:
    nothing = np.full((1, 3), np.nan)

    assert np.isnan(pool_probabilities([nothing], np.array([1.0]))).all()
    assert np.isnan(pool_quantiles([nothing], np.array([1.0]))).all()
    assert np.isnan(pool_volatility([np.array([np.nan])], np.array([1.0]))).all()


def test_pooled_volatility_is_a_geometric_mean() -> None:
    pooled = pool_volatility([np.array([0.01]), np.array([0.04])], np.array([0.5, 0.5]))

    assert pooled[0] == pytest.approx(0.02)


def test_recalibration_mends_a_forecaster_that_is_too_sure() -> None:
    generator = np.random.default_rng(3)
    calibration = Recalibration(horizon=1)
    truth = np.array([0.3, 0.4, 0.3])
    said = np.array([0.08, 0.84, 0.08])
    for _ in range(6_000):
        outcome = np.asarray(generator.choice(3, size=8, p=truth) - 1.0, dtype=np.float64)
        calibration.learn(np.tile(said, (8, 1)), outcome)

    mended = calibration.apply(said[None, :])[0]

    assert mended.tolist() == pytest.approx(truth.tolist(), abs=0.05)


def test_labels_that_overlap_count_as_often_as_they_say_something_new() -> None:
    """A day of hourly labels over the same day is one label."""
    generator = np.random.default_rng(4)
    once = Recalibration(horizon=1), ConformalQuantiles(horizon=1)
    daily = Recalibration(horizon=24), ConformalQuantiles(horizon=24)
    said, quantiles = np.array([[0.2, 0.3, 0.5]]), np.array([[-1.0, 0.0, 1.0]])
    for _ in range(300):
        outcome, move = generator.integers(-1, 2, 1).astype(float), generator.normal(0, 1.5, 1)
        for (calibration, intervals), times in ((once, 1), (daily, 24)):
            for _ in range(times):
                calibration.learn(said, outcome)
                intervals.learn(quantiles, move)

    told = [one.apply(said)[0].tolist() for one, _ in (once, daily)]
    moved = [one.apply(quantiles, np.ones(1))[0].tolist() for _, one in (once, daily)]
    assert told[0] == pytest.approx(told[1], abs=0.003)
    assert moved[0] == pytest.approx(moved[1], rel=1e-9)
    assert moved[0][0] < -1.3
    assert told[0][1] > 0.31


def test_intervals_keep_their_coverage_when_the_variance_doubles() -> None:
    generator = np.random.default_rng(5)
    intervals = ConformalQuantiles(horizon=1)
    gaussian = np.array([[-1.2816, 0.0, 1.2816]]) * 0.01
    inside = []
    for tick in range(6_000):
        spread = 0.01 if tick < 2_000 else 0.02
        served = intervals.apply(np.tile(gaussian, (5, 1)), np.full(5, 0.01))
        moves = generator.normal(0, spread, size=5)
        inside.append(np.mean((served[:, 0] <= moves) & (moves <= served[:, 2])))
        intervals.learn(served, moves)

    assert np.mean(inside[3_000:]) == pytest.approx(0.8, abs=0.02)


def test_intervals_never_cross() -> None:
    intervals = ConformalQuantiles(horizon=1)
    for _ in range(500):
        intervals.learn(np.array([[-1.0, 0.0, 1.0]]), np.array([0.0]))

    served = intervals.apply(np.array([[-0.001, 0.0, 0.001]]), np.array([1.0]))

    assert served[0, 0] <= served[0, 1] <= served[0, 2]
