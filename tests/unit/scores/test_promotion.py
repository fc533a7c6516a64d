"""The promotion policy, rule by rule."""

from __future__ import annotations

import math

import numpy as np
import pytest

from domain.events import Target
from domain.market import Horizon, Timeframe
from services.scores.blocks import Dates
from services.scores.promotion import (
    LOOKS,
    Gain,
    Verdict,
    attempt_alpha,
    holm,
    judge_cold_start,
    judge_look,
    judge_refresh,
    judge_rollback,
    measure,
)
from services.scores.promotion_rates import (
    Stream,
    challenge_rate,
    cold_start_rate,
    searched_rate,
)

H1 = Horizon(Timeframe.H1, 1)  # blocks of two hours
H4 = Horizon(Timeframe.H1, 4)
SEEDS = range(20)


def dates(blocks: int, *gains: float, spread: float = 0.02) -> Dates:
    """Reference loss 1; the gains of the others alternate by `spread` between blocks."""
    n = 2 * blocks
    wave = spread * (-1.0) ** (np.arange(n) // 2)
    columns = [np.ones(n), *(1 - gain + wave for gain in gains)]
    as_of_ms = np.arange(n) * Timeframe.H1.ms
    return Dates(as_of_ms=as_of_ms, losses=np.column_stack(columns), counts=np.ones(n, np.int64))


def test_all_attempts_together_spend_five_percent() -> None:
    spent = [attempt_alpha(n) for n in range(1, 100_000)]

    assert spent[0] == pytest.approx(0.0304, abs=1e-4)
    assert sum(spent) == pytest.approx(0.05, abs=1e-5)


def test_a_gain_is_measured_on_winsorised_differences_in_blocks() -> None:
    table = dates(50, 0.01, spread=0.0)
    table.losses[7, 1] = -1e6  # one absurd row

    (gain,) = measure(table, H1, ["kind"])

    assert gain.blocks == 50
    assert gain.relative == pytest.approx(0.01)


def test_a_refresh_is_refused_only_when_it_is_significantly_worse() -> None:
    better = judge_refresh(dates(30, 0.05), H1, "kind")
    slightly_worse = judge_refresh(dates(30, -0.002), H1, "kind")
    worse = judge_refresh(dates(30, -0.05), H1, "kind")

    assert (better.verdict, better.models) == (Verdict.PROMOTE, ("kind",))
    assert slightly_worse.verdict is Verdict.PROMOTE
    assert (worse.verdict, worse.models) == (Verdict.REJECT, ())
    assert isinstance(p := worse.evidence["kind.p_worse"], float)
    assert p < 0.05


def test_a_refresh_that_fails_a_guardrail_is_refused_and_says_which() -> None:
    decision = judge_refresh(dates(30, 0.05), H1, "kind", failed=["non-finite output"])

    assert decision.verdict is Verdict.REJECT
    assert "non-finite output" in decision.words
    assert decision.evidence["failed"] == "non-finite output"


def test_a_cold_start_lifts_the_kinds_that_beat_the_baseline() -> None:
    table = dates(50, 0.05, 0.0, -0.05)

    decision = judge_cold_start(table, H1, ["good", "equal", "bad"], attempt=1)
    refused = judge_cold_start(table, H1, ["good", "equal", "bad"], 1, {"good": ["coverage"]})

    assert (decision.verdict, decision.models) == (Verdict.COLD_START, ("good",))
    assert decision.evidence["alpha"] == attempt_alpha(1)
    assert refused.verdict is Verdict.REJECT
    assert refused.evidence["good.failed"] == "coverage"


def test_a_later_attempt_needs_more_proof() -> None:
    table = dates(12, 0.02)
    first = judge_cold_start(table, H1, ["kind"], attempt=1)
    tenth = judge_cold_start(table, H1, ["kind"], attempt=10)

    assert first.verdict is Verdict.COLD_START
    assert tenth.verdict is Verdict.REJECT


def test_kinds_tested_together_share_one_error() -> None:
    p_alone = measure(dates(30, 0.005), H1, ["kind"])[0].test.p_above()
    five = measure(dates(30, *[0.005] * 5), H1, list("abcde"))

    assert len(holm(five[:1], p_alone * 1.01)) == 1
    assert holm(five, p_alone * 1.01) == []
    assert len(holm(five, p_alone * 5.01)) == 5


def test_the_best_of_a_search_counts_as_many_kinds_as_were_tried() -> None:
    table = dates(30, 0.02)
    p = measure(table, H1, ["kind"])[0].test.p_above()
    (searched,) = measure(table, H1, ["kind"], {"kind": 10, "other": 99})

    assert searched.p_better == pytest.approx(10 * p)
    assert holm([searched], p * 9.9) == []
    assert holm([searched], p * 10.1) == [searched]


def test_a_cold_start_says_how_often_a_variant_counts() -> None:
    table = dates(12, 0.02, 0.05)

    alone = judge_cold_start(table, H1, ["deep", "kind"], 1)
    counted = judge_cold_start(table, H1, ["deep", "kind"], 1, trials={"deep": 1000})

    assert alone.models == ("kind", "deep")
    assert counted.models == ("kind",)
    assert counted.words.endswith("(attempt 1; deep counts 1000 times)")
    assert counted.evidence["deep.n_trials"] == 1000
    assert "kind.n_trials" not in counted.evidence


def test_a_look_says_how_often_a_variant_counts() -> None:
    gains = measure(dates(LOOKS[2], 0.008), H1, ["kind"], {"kind": 7})

    decision = judge_look(gains, Target.DIRECTION, 2, 1)

    assert "kind counts 7 times" in decision.words
    assert decision.evidence["kind.p_better_of_trials"] == pytest.approx(
        7 * float(decision.evidence["kind.p_better"] or 0.0)
    )


def test_holm_stops_at_the_first_that_fails() -> None:
    gains = measure(dates(30, 0.05, 0.0, 0.04), H1, ["a", "b", "c"])

    assert [gain.model for gain in holm(gains, 0.05)] == ["a", "c"]


def look(gain: float, number: int = 2, target: Target = Target.DIRECTION) -> Verdict:
    table = dates(LOOKS[number], gain, spread=gain / 10)
    return judge_look(measure(table, H1, ["kind"]), target, number, attempt=1).verdict


def test_a_gain_below_the_margin_is_no_reason_to_change() -> None:
    assert look(0.0009) is Verdict.REJECT
    assert look(0.0011) is Verdict.PROMOTE
    assert look(0.0049, target=Target.VOLATILITY) is Verdict.REJECT
    assert look(0.0051, target=Target.VOLATILITY) is Verdict.PROMOTE


def test_a_challenge_goes_on_until_its_last_look() -> None:
    assert [look(0.0, number) for number in range(3)] == [
        Verdict.KEEP,
        Verdict.KEEP,
        Verdict.REJECT,
    ]


def test_an_early_look_needs_more_proof_than_the_last() -> None:
    gains = measure(dates(LOOKS[2], 0.008), H1, ["kind"])
    verdicts = [judge_look(gains, Target.DIRECTION, n, 1).verdict for n in range(3)]

    assert 0.0005 < gains[0].test.p_above() / attempt_alpha(1) * 0.05 < 0.014
    assert verdicts == [Verdict.KEEP, Verdict.PROMOTE, Verdict.PROMOTE]


def test_the_challenger_that_gained_most_is_promoted() -> None:
    gains = measure(dates(LOOKS[0], 0.03, 0.05, 0.04), H1, ["a", "b", "c"])

    decision = judge_look(gains, Target.DIRECTION, 0, 1)
    guarded = judge_look(gains, Target.DIRECTION, 0, 1, {"b": ["ECE"]})

    assert decision.models == ("b",)
    assert guarded.models == ("c",)
    assert {"a.p_better", "b.relative_gain", "look", "attempt", "alpha", "margin"} <= set(
        decision.evidence
    )


def test_a_challenger_that_was_mostly_silent_is_not_promoted() -> None:
    table = dates(LOOKS[0], 0.05)
    table.losses[:10, 1] = np.nan

    decision = judge_look(measure(table, H1, ["kind"]), Target.DIRECTION, 0, 1)

    assert decision.verdict is Verdict.KEEP


def test_a_champion_is_rolled_back_when_broken_or_proven_worse_than_its_baseline() -> None:
    worse, few, equal = dates(10, -0.1), dates(9, -0.1), dates(10, 0.0)

    assert judge_rollback(worse, H1, "kind").verdict is Verdict.ROLLBACK
    assert judge_rollback(few, H1, "kind").verdict is Verdict.KEEP
    assert judge_rollback(equal, H1, "kind").verdict is Verdict.KEEP
    broken = judge_rollback(equal, H1, "kind", broken=["non-finite output"])
    assert (broken.verdict, broken.models) == (Verdict.ROLLBACK, ("kind",))


def test_evidence_never_holds_a_number_that_json_cannot() -> None:
    decision = judge_rollback(dates(0, 0.0), H1, "kind")

    numbers = [value for value in decision.evidence.values() if isinstance(value, float)]
    assert all(math.isfinite(number) for number in numbers)
    assert decision.evidence["kind.gain"] is None


def test_equal_challengers_are_rarely_promoted_and_better_ones_mostly_are() -> None:
    equal = challenge_rate(Stream(gain=0.0, block_spread=0.05, horizon=H4), 60, SEEDS)
    better = challenge_rate(Stream(gain=0.02, block_spread=0.05, horizon=H4), 45, SEEDS)
    cold = cold_start_rate(Stream(gain=0.0, block_spread=0.05, horizon=H4), 3, 50, SEEDS)

    assert equal.low <= 0.05
    assert cold.low <= 0.05
    assert better.share >= 0.7


def test_the_best_of_a_search_that_saw_the_holdout_rarely_begins() -> None:
    noise = Stream(gain=0.0, block_spread=0.05, horizon=H4)

    assert searched_rate(noise, 30, 50, SEEDS, seen=True).low <= 0.05


def test_the_evidence_of_a_gain_names_its_model() -> None:
    gain: Gain = measure(dates(4, 0.1), H1, ["xgboost.direction"])[0]

    assert gain.numbers()["xgboost.direction.blocks"] == 4
