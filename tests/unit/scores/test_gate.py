"""Who may be served: the rule over blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from domain.events import Origin, OutcomeBatch, Skill, Target
from domain.losses import LOSS_OF
from domain.market import Timeframe, from_ms
from services.scores.blocks import Blocks
from services.scores.gate import Gate
from tests.unit.scores.rows import HOUR, outcome

BLOCK_HOURS = 4  # twice the horizon of 2


def gate(target: Target = Target.DIRECTION) -> Gate:
    return Gate("simulated", Timeframe.H1, 2, target)


def blocks(first: int, *columns: list[float]) -> Blocks:
    losses = np.array(columns, dtype=float).T
    n = len(losses)
    return Blocks(numbers=np.arange(first, first + n), losses=losses, counts=np.full(n, 8))


def live(
    target: Target, blocks_of_losses: list[list[float]], first: int = 1000
) -> Iterator[OutcomeBatch]:
    """Outcomes of the pool and its baselines, block by block, and one more that closes the last."""
    names = gate(target).columns
    for number, losses in enumerate([*blocks_of_losses, blocks_of_losses[-1]]):
        for hour in range(BLOCK_HOURS):
            as_of = (first + number) * BLOCK_HOURS + hour
            for name, loss in zip(names, losses, strict=True):
                yield outcome(as_of, [loss, loss], LOSS_OF[target], model=name)


def run(subject: Gate, outcomes: Iterator[OutcomeBatch]) -> list[Skill]:
    verdicts = [subject.on_outcomes(batch) for batch in outcomes]
    return [verdict for verdict in verdicts if verdict is not None]


def wavy(n: int, gain: float, spread: float = 0.05) -> list[list[float]]:
    """Pool and baseline losses; the differences alternate around `gain`."""
    return [[1 - gain + spread * (-1) ** i, 1.0] for i in range(n)]


def test_a_verdict_comes_with_every_block_that_closes() -> None:
    verdicts = run(gate(), live(Target.DIRECTION, wavy(12, 0.1)))

    assert [verdict.blocks for verdict in verdicts] == list(range(1, 13))
    assert verdicts[-1].count == 12 * BLOCK_HOURS * 2
    assert verdicts[-1].skill == pytest.approx(0.1)
    assert verdicts[-1].baseline == "class_prior.direction"


@pytest.mark.parametrize("origin", [Origin.LATE, Origin.BACKTEST])
def test_what_was_not_said_live_moves_no_gate(origin: Origin) -> None:
    alone, beside = gate(), gate()
    told = list(live(Target.DIRECTION, wavy(12, 0.0)))
    flattering = list(live(Target.DIRECTION, wavy(24, 0.5), first=990))

    run(alone, iter(told))
    verdicts = run(beside, (replace(one, origin=origin) for one in flattering))
    run(beside, iter(told))

    assert verdicts == []
    assert beside.snapshot() == alone.snapshot()


def test_direction_is_flagged_until_it_has_proven_skill() -> None:
    better = run(gate(), live(Target.DIRECTION, wavy(12, 0.1)))
    equal = run(gate(), live(Target.DIRECTION, wavy(12, 0.0)))
    slightly = run(gate(), live(Target.DIRECTION, wavy(12, 0.01)))

    assert [verdict.no_skill for verdict in better] == [True] * 9 + [False] * 3
    assert equal[-1].no_skill
    assert slightly[-1].no_skill


def test_the_interval_is_that_of_student_over_blocks() -> None:
    losses = wavy(12, 0.02)
    (verdict,) = run(gate(), live(Target.DIRECTION, losses))[-1:]
    gains = [baseline - pool for pool, baseline in losses]
    interval = stats.ttest_1samp(gains, 0.0).confidence_interval(0.95)

    assert (verdict.low, verdict.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("target", [Target.QUANTILES, Target.VOLATILITY])
def test_quantiles_and_volatility_are_served_until_they_are_proven_worse(target: Target) -> None:
    def verdicts(gain: float) -> list[bool]:
        losses = wavy(12, gain)
        if target is Target.VOLATILITY:
            losses = [[*pair, 3.0] for pair in losses]
        return [verdict.no_skill for verdict in run(gate(target), live(target, losses))]

    assert verdicts(-0.01) == [True] * 9 + [False] * 3
    assert verdicts(-0.2) == [True] * 12


def test_the_best_baseline_so_far_is_the_one_to_beat() -> None:
    losses = [[1.0 + 0.01 * (i % 2), 1.2, 1.1] for i in range(12)]

    verdict = run(gate(Target.VOLATILITY), live(Target.VOLATILITY, losses))[-1]

    assert verdict.baseline == "har.volatility"
    assert verdict.skill == pytest.approx(1 - 1.005 / 1.1)


def test_a_baseline_that_is_not_there_yet_is_not_waited_for() -> None:
    losses = [[1.0 + 0.01 * (i % 2), 1.2, np.nan] for i in range(12)]

    verdict = run(gate(Target.VOLATILITY), live(Target.VOLATILITY, losses))[-1]

    assert (verdict.baseline, verdict.blocks) == ("ewma.volatility", 12)


def test_direction_looks_at_sixty_blocks_and_the_others_at_240() -> None:
    history = [[0.5, 1.0]] * 190 + wavy(60, -0.01)
    direction = run(gate(), live(Target.DIRECTION, history))[-1]
    quantiles = run(gate(Target.QUANTILES), live(Target.QUANTILES, history))[-1]

    assert (direction.blocks, direction.no_skill) == (60, True)
    assert quantiles.blocks == 240
    assert quantiles.skill == pytest.approx((180 * 0.5 - 60 * 0.01) / 240)


def test_the_holdout_stands_in_for_blocks_not_lived_yet() -> None:
    subject = gate()
    history = wavy(50, 0.1)
    subject.seed_holdout(blocks(900, *np.array(history).T.tolist()))

    at_once = subject.verdict(from_ms(0))
    after = run(subject, live(Target.DIRECTION, wavy(10, -0.5)))

    assert (at_once.blocks, at_once.no_skill) == (50, False)
    assert [verdict.blocks for verdict in after] == list(range(51, 61))
    assert after[-1].skill == pytest.approx((50 * 0.1 - 10 * 0.5) / 60)


def test_a_holdout_never_counts_for_a_time_that_was_lived() -> None:
    subject = gate()
    run(subject, live(Target.DIRECTION, wavy(4, 0.1), first=1000))

    subject.seed_holdout(blocks(998, *np.array(wavy(10, 0.1)).T.tolist()))

    assert subject.verdict(from_ms(0)).blocks == 2 + 4


def test_before_the_first_block_nothing_is_claimed() -> None:
    verdict = gate().verdict(from_ms(HOUR))

    assert (verdict.skill, verdict.low, verdict.high) == (None, None, None)
    assert (verdict.blocks, verdict.count, verdict.no_skill) == (0, 0, True)


def test_a_gate_continues_from_its_snapshot_bit_for_bit() -> None:
    outcomes = list(live(Target.DIRECTION, wavy(20, 0.03)))
    first = gate()
    first.seed_holdout(blocks(900, [1 / 3, 0.1], [np.nan, 0.7]))
    run(first, iter(outcomes[:77]))
    second = gate()
    second.restore(first.snapshot())

    assert run(first, iter(outcomes[77:])) == run(second, iter(outcomes[77:]))
    assert first.snapshot() == second.snapshot()


def test_a_frozen_market_has_no_skill_to_show() -> None:
    verdict = run(gate(), live(Target.DIRECTION, [[0.0, 0.0]] * 12))[-1]

    assert verdict.skill is None
    assert verdict.no_skill
