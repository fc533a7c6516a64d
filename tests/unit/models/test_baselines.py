"""The floors against values worked out by hand or by another way."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from alphapulse_testing.panel import (
    HORIZON,
    PANEL,
    VARIANCES,
    panel_batch,
    panel_examples,
    panel_features,
)
from domain.events import Examples
from services.models.baseline import ClassPrior, EmpiricalQuantiles, Ewma
from services.models.har import Har
from services.models.recursion import MONTH_MS, RefitSchedule


def bias_of(har: Har) -> float:
    return float(json.loads(har.snapshot())["bias"])


def with_outcomes(down: int, flat: int, up: int) -> Examples:
    outcome = np.repeat([-1.0, 0.0, 1.0], [down, flat, up])
    return replace(panel_examples(100).take(np.arange(len(outcome))), outcome=outcome)


def test_a_class_prior_is_a_third_each_before_50_labels() -> None:
    prior = ClassPrior(horizon=HORIZON)

    prior.learn(with_outcomes(down=0, flat=49, up=0))

    assert prior.predict(panel_batch(panel_features(1))) == pytest.approx(1 / 3)


def test_a_class_prior_is_the_matured_frequency_with_one_more_of_each() -> None:
    prior = ClassPrior(horizon=HORIZON)

    prior.learn(with_outcomes(down=10, flat=67, up=20))

    expected = [[0.11, 0.68, 0.21]]
    assert prior.predict(panel_batch(panel_features(1))) == pytest.approx(np.array(expected))


def test_ewma_is_the_root_of_variance_times_horizon_before_its_first_estimate() -> None:
    ewma = Ewma(horizon=HORIZON)
    values = panel_features(1)
    values[0, PANEL.columns.index("ewma_variance")] = 0.0001

    ewma.learn(panel_examples(166))  # 498 rows

    assert ewma.predict(panel_batch(values)) == pytest.approx([0.02])


def test_ewma_scales_to_the_mean_realised_variance_of_the_past() -> None:
    ewma = Ewma(horizon=HORIZON)
    values = panel_features(1)
    values[0, PANEL.columns.index("ewma_variance")] = 0.0001
    examples = panel_examples(200)
    past = examples.take(np.arange(500))  # the 500th row makes the estimate due
    variance = past.features[:, PANEL.columns.index("ewma_variance")] * HORIZON

    ewma.learn(examples)

    scale = (past.realized_volatility**2).mean() / variance.mean()
    assert ewma.predict(panel_batch(values)) == pytest.approx([0.02 * np.sqrt(scale)])


@pytest.mark.parametrize("variance", [0.0, -1e-9, np.nan])
def test_ewma_does_not_judge_a_variance_that_is_not_above_zero(variance: float) -> None:
    values = panel_features(1)
    values[0, PANEL.columns.index("ewma_variance")] = variance

    assert np.isnan(Ewma(horizon=HORIZON).predict(panel_batch(values))).all()


def test_har_says_nothing_before_500_rows() -> None:
    har = Har(horizon=HORIZON)

    har.learn(panel_examples(167).take(np.arange(499)))
    assert np.isnan(har.predict(panel_batch(panel_features(2)))).all()

    har.learn(panel_examples(167).take(np.arange(499, 500)))
    assert np.isfinite(har.predict(panel_batch(panel_features(2)))).all()


def test_har_is_least_squares_on_logs_with_the_bias_of_its_past() -> None:
    har = Har(horizon=HORIZON)
    examples = panel_examples(167).take(np.arange(500))
    logs = np.log(examples.features[:, [PANEL.columns.index(column) for column in VARIANCES]])
    regressors = np.column_stack((np.ones(500), logs))
    answers = np.log(examples.realized_volatility**2)
    coefficients = np.linalg.lstsq(regressors, answers, rcond=None)[0]
    fit = np.exp(regressors @ coefficients)
    bias = (examples.realized_volatility**2).mean() / fit.mean()

    har.learn(examples)

    forecast = har.predict(panel_batch(examples.features))
    assert forecast == pytest.approx(np.sqrt(fit * bias), rel=1e-9)


def test_har_takes_the_bias_of_later_rows_from_the_coefficients_of_their_time() -> None:
    har = Har(horizon=HORIZON)
    examples = panel_examples(334).take(np.arange(1000))
    first, later = examples.take(np.arange(500)), examples.take(np.arange(500, 1000))
    early = Har(horizon=HORIZON)
    early.learn(first)
    unbiased = [
        early.predict(panel_batch(part.features)) ** 2 / bias_of(early) for part in (first, later)
    ]

    har.learn(examples)

    realised = (examples.realized_volatility**2).sum()
    assert bias_of(har) == pytest.approx(realised / np.concatenate(unbiased).sum())


def test_a_variance_of_zero_has_no_logarithm_and_is_unknown() -> None:
    values = panel_features(2)
    values[0, PANEL.columns.index("gk_variance_1")] = 0.0
    har = Har(horizon=HORIZON)
    har.learn(panel_examples(200))

    forecast = har.predict(panel_batch(values))

    assert list(np.isnan(forecast)) == [True, False]


def test_empirical_quantiles_are_gaussian_before_50_rows() -> None:
    quantiles = EmpiricalQuantiles(horizon=HORIZON)
    values = panel_features(1)
    values[0, PANEL.columns.index("ewma_variance")] = 0.0001
    quantiles.learn(panel_examples(16))  # 48 rows

    forecast = quantiles.predict(panel_batch(values))

    tenth = NormalDist().inv_cdf(0.1) * 0.02
    assert forecast == pytest.approx(np.array([[tenth, 0, -tenth]]), abs=1e-12)


def test_empirical_quantiles_are_those_of_the_standardised_returns() -> None:
    quantiles = EmpiricalQuantiles(horizon=HORIZON)
    examples = panel_examples(600)
    values = panel_features(1)
    values[0, PANEL.columns.index("ewma_variance")] = 0.0001
    variance = examples.features[:, PANEL.columns.index("ewma_variance")]
    expected = np.quantile(examples.log_return / np.sqrt(HORIZON * variance), [0.1, 0.5, 0.9])

    quantiles.learn(examples)

    forecast = quantiles.predict(panel_batch(values))[0] / 0.02
    assert forecast == pytest.approx(expected, abs=EmpiricalQuantiles.WIDTH)


def test_empirical_quantiles_do_not_depend_on_the_order() -> None:
    forth, back = EmpiricalQuantiles(horizon=HORIZON), EmpiricalQuantiles(horizon=HORIZON)
    examples = panel_examples(100)

    forth.learn(examples)
    back.learn(examples.take(np.arange(len(examples))[::-1]))

    assert forth.snapshot() == back.snapshot()


def test_estimates_are_due_at_500_rows_at_their_doubling_and_after_a_month() -> None:
    schedule = RefitSchedule()
    known_ms = np.arange(1, 5001, dtype=np.int64)  # within five seconds

    due = [schedule.rows for _, is_due in schedule.spans(known_ms) if is_due]
    later = np.array([4000 + MONTH_MS - 1, 4000 + MONTH_MS, 4000 + MONTH_MS + 1], dtype=np.int64)
    spans = [(span.stop, is_due) for span, is_due in schedule.spans(later)]

    assert due == [500, 1000, 2000, 4000]
    assert spans == [(2, True), (3, False)]
    assert schedule.fitted_ms == 4000 + MONTH_MS
