"""Losses become dates, and several comparisons one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import orjson
import pytest

from alphapulse_testing.panel import HORIZON, HOUR_MS, MODEL_COLUMNS, panel_examples
from backend.learning.attempts import next_challenge, next_cold_start
from backend.learning.evidence import (
    continued,
    dates_of,
    failed_guardrails,
    joined,
    metrics_of,
)
from domain.market import rfc3339
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitResult, FitTask, fit
from services.models.walk_forward import SplitKind
from tests.doubles import START

NAN = np.nan


def test_rows_of_one_close_are_averaged_over_what_all_judged() -> None:
    as_of_ms = np.array([1, 1, 1, 2])
    baseline = np.array([1.0, 3.0, 9.0, 5.0])
    ours = np.array([2.0, 2.0, NAN, 4.0])

    dates = dates_of(as_of_ms, [baseline, ours])

    assert dates.as_of_ms.tolist() == [1, 2]
    assert dates.losses.tolist() == [[2.0, 2.0], [5.0, 4.0]]
    assert dates.counts.tolist() == [2, 1]


def test_joined_comparisons_keep_each_column_on_its_own_dates() -> None:
    one = dates_of(np.array([1, 2]), [np.array([1.0, 2.0]), np.array([0.5, 1.5])])
    other = dates_of(np.array([2, 3]), [np.array([2.0, 3.0]), np.array([1.9, 2.9])])

    both = joined([one, other])

    assert both.as_of_ms.tolist() == [1, 2, 3]
    assert both.losses[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert both.losses[:2, 1].tolist() == [0.5, 1.5]
    assert both.losses[1:, 2].tolist() == [1.9, 2.9]
    assert np.isnan(both.losses[2, 1])
    assert np.isnan(both.losses[0, 2])


@pytest.fixture(scope="module")
def fitted() -> FitResult:
    return fit(
        FitTask(
            recipe=BUILT_IN.recipes["logistic.direction"],
            horizon=HORIZON,
            horizon_ms=HORIZON * HOUR_MS,
            columns=MODEL_COLUMNS,
            examples=panel_examples(150),
            split=SplitKind.LEAN,
            seed=1,
        )
    )


def test_a_sound_fit_passes_the_guardrails(fitted: FitResult) -> None:
    assert failed_guardrails(fitted) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"finite": 0.9}, "finite"),
        ({"coverage": 0.2}, "coverage"),
        ({"disagreement": 2.0}, "disagree"),
    ],
)
def test_each_guardrail_is_named(fitted: FitResult, changes: dict[str, Any], word: str) -> None:
    (failed,) = failed_guardrails(replace(fitted, **changes))

    assert word in failed


def test_a_record_is_continued_by_the_newest_fit_from_its_first_judged_date() -> None:
    record = dates_of(np.array([1, 2, 3]), [np.full(3, 1.0), np.full(3, 2.0)])
    judged = dates_of(np.array([3, 4]), [np.full(2, 1.0), np.full(2, 7.0), np.full(2, 0.5)])

    whole = continued(record, judged, 2)

    assert whole.as_of_ms.tolist() == [1, 2, 3, 4]
    assert whole.losses[:, 1].tolist() == [2.0, 2.0, 0.5, 0.5]


def decided(day: int, trigger: str, verdict: str, **evidence: object) -> dict[str, Any]:
    moment = START + timedelta(days=day)
    begun = rfc3339(moment + timedelta(hours=1))
    return {
        "decided_at": moment,
        "trigger": trigger,
        "verdict": verdict,
        "evidence": {"begun": begun} | evidence,
    }


def test_cold_starts_are_counted_since_somebody_was_lifted() -> None:
    failed = [decided(day, "cold_start", "reject") for day in (1, 1, 2)]  # two kinds on day 1
    lifted = [decided(3, "cold_start", "reject"), decided(3, "cold_start", "cold_start")]

    assert next_cold_start([]) == 1
    assert next_cold_start(failed) == 3
    assert next_cold_start([*failed, *lifted]) == 1
    assert next_cold_start([*failed, *lifted, decided(4, "cold_start", "reject")]) == 2


def test_challenges_are_counted_since_somebody_was_lifted() -> None:
    begun = decided(3, "challenge", "keep", look=0)
    lifted = decided(3, "cold_start", "cold_start")
    looks = [decided(day, "challenge", "keep", look=day) for day in (1, 2)]
    promoted = decided(9, "challenge", "promote", look=3)

    assert next_challenge([lifted]) == 1
    assert next_challenge([lifted, begun, *looks]) == 2
    assert next_challenge([lifted, begun, *looks, promoted]) == 1
    assert next_challenge([lifted, begun, promoted, decided(9, "challenge", "keep", look=0)]) == 2


def test_a_refresh_neither_spends_the_budget_nor_frees_it() -> None:
    spent = [
        decided(1, "cold_start", "reject"),
        decided(1, "cold_start", "cold_start"),
        decided(1, "challenge", "keep", look=0),
        decided(5, "refresh", "promote"),
        decided(6, "refresh", "reject"),
        decided(7, "refit", "keep"),
    ]

    assert next_challenge(spent) == 2
    assert next_cold_start([decided(4, "cold_start", "reject"), *spent]) == 2


def test_metrics_say_what_matters_to_a_model_and_of_how_many_rows(fitted: FitResult) -> None:
    assert fitted.importance is not None

    metrics = orjson.loads(orjson.dumps(metrics_of(fitted)))

    said = metrics["importance"]
    assert said["rows"] == fitted.importance.rows
    assert {one["feature"]: one["mean"] for one in said["features"]} == fitted.importance.features
    means = [one["mean"] for one in said["features"]]
    assert means == sorted(means, reverse=True)
    assert metrics_of(replace(fitted, importance=None))["importance"] is None
