"""Evidence that gathers over cold starts: what a block adds, who begins, and what is written."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from domain.market import Horizon, Timeframe
from services.scores.blocks import Dates
from services.scores.gathering import (
    LARGEST_BET,
    STAKES,
    WORTH,
    Gathering,
    capital_of,
    judge_beginning,
    shown_by_means,
)
from services.scores.promotion import ALPHA, HOLDOUT_ALPHA, Verdict
from services.scores.promotion_rates import ColdStarts, Stream, cold_start_rate, lifted_at

H1 = Horizon(Timeframe.H1, 1)  # blocks of two hours
H4 = Horizon(Timeframe.H1, 4)
BLOCK_MS = 2 * Timeframe.H1.ms
LATER = 10_000 * BLOCK_MS
SEEDS = range(40)


def dates(differences: list[float], first: int = 0) -> Dates:
    """A baseline with loss 1 and a kind whose loss is smaller by each block's difference."""
    gain = np.repeat(differences, 2)
    as_of_ms = first * BLOCK_MS + np.arange(len(gain)) * Timeframe.H1.ms
    losses = np.column_stack([np.ones(len(gain)), 1.0 - gain])
    return Dates(as_of_ms=as_of_ms, losses=losses, counts=np.ones(len(gain), np.int64))


def test_two_blocks_give_the_scale_of_the_first_bet() -> None:
    (one,) = Gathering().add({"kind": dates([0.3, -0.1])}, H1, LATER).capitals.values()
    (two,) = Gathering().add({"kind": dates([0.3, -0.1, 0.2])}, H1, LATER).capitals.values()

    assert (one.logs, one.blocks, one.last) == ((0.0, 0.0), 2, 1)
    scale = math.sqrt((0.3**2 + 0.1**2) / 2)
    wanted = [WORTH * math.log1p(stake * 0.2 / scale) for stake in STAKES]
    assert two.logs == pytest.approx(wanted)
    assert math.exp(two.log) == pytest.approx(np.mean(np.exp(wanted)))


def test_no_block_loses_all() -> None:
    one = Gathering().add({"kind": dates([0.1, -0.1, -1e9])}, H1, LATER).capitals["kind"]

    assert one.log == pytest.approx(WORTH * math.log1p(-LARGEST_BET))


def test_a_frozen_market_bets_nothing() -> None:
    assert Gathering().add({"kind": dates([0.0] * 9)}, H1, LATER).capitals["kind"].logs == (
        0.0,
        0.0,
    )


def test_a_block_counts_once_and_only_when_its_labels_are_known() -> None:
    ended_ms = 5 * BLOCK_MS
    early = Gathering().add({"kind": dates([0.1] * 9)}, H1, ended_ms)
    known = early.add({"kind": dates([0.1] * 9)}, H1, ended_ms + Timeframe.H1.ms)
    again = known.add({"kind": dates([0.9] * 9)}, H1, ended_ms + Timeframe.H1.ms)

    assert early.capitals["kind"].last == 3
    assert known.capitals["kind"].last == 4
    assert again == known


def test_who_has_gathered_enough_begins_unless_a_guardrail_failed() -> None:
    told = {"good": dates([0.1, 0.3] * 30), "equal": dates([0.1, -0.1] * 30)}
    gathering = Gathering().add(told, H1, LATER)

    decision = gathering.judge(["good", "equal"])
    refused = gathering.judge(["good", "equal"], failed={"good": ["coverage 0.30"]})

    assert (decision.verdict, decision.models) == (Verdict.COLD_START, ("good",))
    assert "good beat the baseline" in decision.words
    assert "44 is needed (round 1)" in decision.words
    assert refused.verdict is Verdict.REJECT
    assert refused.evidence["good.failed"] == "coverage 0.30"


def test_all_that_may_be_spent_is_five_percent() -> None:
    rounds = [1.0 / Gathering(round=n).needed for n in range(1, 30)]

    assert sum(rounds) + HOLDOUT_ALPHA == pytest.approx(ALPHA)


def test_a_round_that_lost_nine_tenths_is_followed_by_one_that_needs_more() -> None:
    told = {"one": dates([-0.1, -0.2] * 20), "other": dates([0.1, -0.2] * 20)}
    lost = Gathering().add(told, H1, LATER)

    after = lost.following()

    assert after.round == 2
    assert after.needed == pytest.approx(4 * lost.needed)
    assert {one.logs for one in after.capitals.values()} == {(0.0, 0.0)}
    assert [one.last for one in after.capitals.values()] == [39, 39]
    assert after.following() == after
    assert Gathering().following() == Gathering()


def test_who_joins_begins_with_the_mean_of_the_others_at_most_one() -> None:
    poor = Gathering(capitals={"a": capital_of(math.log(0.2)), "b": capital_of(math.log(0.4))})
    rich = Gathering(capitals={"a": capital_of(math.log(9.0))})

    joined = poor.add({"new": dates([0.1])}, H1, LATER).capitals["new"]

    assert math.exp(joined.log) == pytest.approx(0.3)
    assert rich.add({"new": dates([0.1])}, H1, LATER).capitals["new"].logs == (0.0, 0.0)


def test_who_is_not_asked_for_any_more_keeps_its_place() -> None:
    left = Gathering(capitals={"good": capital_of(math.log(60.0)), "left": capital_of(-5.0)})
    alone = Gathering(capitals={"good": left.capitals["good"]})

    assert left.judge(["good"]).verdict is Verdict.REJECT
    assert alone.judge(["good"]).verdict is Verdict.COLD_START


def test_trials_of_a_search_divide_a_capital() -> None:
    gathering = Gathering(capitals={"searched": capital_of(math.log(100.0))})

    assert gathering.judge(["searched"], trials={"searched": 2}).models == ("searched",)
    refused = gathering.judge(["searched"], trials={"searched": 3})
    assert refused.models == ()
    assert refused.evidence["searched.n_trials"] == 3
    assert "evidence 33.3 of searched" in refused.words
    assert "searched counts 3 times" in refused.words


def test_kinds_that_agree_need_hardly_more_than_one() -> None:
    needed = math.log(44.4)

    assert shown_by_means({f"{n}": math.log(45.0) for n in range(5)}, needed) == set("01234")
    assert shown_by_means({"good": math.log(88.0), "poor": -9.0}, needed) == set()
    assert shown_by_means({"good": math.log(89.0), "poor": -9.0}, needed) == {"good"}


def test_what_is_written_is_gone_on_from_bit_for_bit() -> None:
    told = {"one": dates([0.1, -0.3, 0.2] * 5), "other": dates([0.3, 0.1])}
    gathering = Gathering(round=2).add(told, H1, LATER)

    written = json.loads(json.dumps(gathering.numbers(H1)))

    assert Gathering.read(written) == gathering
    assert Gathering.read({"attempt": 3}) is None
    assert written["gathered_until"] == "1970-01-02T06:00:00.000Z"
    assert written["one.evidence"] == pytest.approx(math.exp(gathering.capitals["one"].log))


def test_the_first_cold_start_also_looks_at_the_holdout() -> None:
    told = {"good": dates([0.1, 0.3] * 6), "equal": dates([0.1, -0.1] * 6)}
    gathering = Gathering().add(told, H1, LATER)

    assert gathering.judge(list(told)).verdict is Verdict.REJECT
    decision = judge_beginning(gathering, told, H1, list(told))
    assert (decision.verdict, decision.models) == (Verdict.COLD_START, ("good",))
    assert decision.evidence["alpha"] == HOLDOUT_ALPHA


def test_equals_rarely_begin_however_often_one_looks_and_better_ones_mostly_do() -> None:
    equal = Stream(gain=0.0, block_spread=0.05, horizon=H4)
    better = Stream(gain=0.02, block_spread=0.05, horizon=H4)

    assert cold_start_rate(ColdStarts(stream=equal, fits=5), SEEDS).low <= 0.05
    assert cold_start_rate(ColdStarts(stream=equal, later=3, fits=30), SEEDS).low <= 0.05
    assert cold_start_rate(ColdStarts(stream=better, fits=8), SEEDS).share >= 0.7
    assert lifted_at(ColdStarts(stream=better), 3) == lifted_at(ColdStarts(stream=better), 3)
