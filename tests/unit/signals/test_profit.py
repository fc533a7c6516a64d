"""A second opinion has a say once it is proven, and noise never is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse_testing.policies import HORIZON, INSTRUMENTS, SETTINGS, life
from domain.events import Floats, LabelBatch, PredictionBatch
from domain.market import Timeframe, from_ms, to_ms
from services.signals.opinion import Opinion
from services.signals.profit import ProfitPolicy

TRADED = tuple(one for one in INSTRUMENTS if one.kind != "spot")


def rows(rng: np.random.Generator, ticks: int, wide: int) -> Floats:
    """(ticks, wide, 3): a level, one input that tells, one that does not."""
    drawn = rng.normal(size=(ticks, wide, 2))
    return np.dstack((np.ones((ticks, wide)), drawn))


def test_an_opinion_learns_what_an_input_tells_and_proves_it() -> None:
    rng = np.random.default_rng(3)
    opinion = Opinion(3, horizon=4)
    for inputs in rows(rng, 1_500, 8):
        truth = 1 / (1 + np.exp(-(inputs[:, 1] - 0.5)))
        opinion.learn(inputs, (rng.random(8) < truth).astype(float))

    asked = np.array([[1.0, -2.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    assert opinion.chance(asked) == pytest.approx(1 / (1 + np.exp(-(asked[:, 1] - 0.5))), abs=0.06)
    assert opinion.proven


def test_noise_is_proven_no_more_often_than_was_allowed() -> None:
    """Rows of a tick are one answer many times over, and labels overlap by the horizon."""
    proven = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        opinion = Opinion(3, horizon=4)
        answers = np.repeat(rng.random(100) < 0.4, 4).astype(float)
        for inputs, answer in zip(rows(rng, 400, 6), answers, strict=True):
            opinion.learn(inputs, np.full(6, answer))
            if opinion.proven:
                proven += 1
                break
    assert proven <= 200 * 0.05


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_an_opinion_goes_on_from_its_state(seed: int, ticks: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = Opinion(3, horizon=2), Opinion(3, horizon=2)
    for inputs in rows(rng, ticks, 5):
        one.learn(inputs, (rng.random(5) < 0.5).astype(float))
    other.restore(one.state())
    more = rows(rng, 1, 5)[0]
    for opinion in (one, other):
        opinion.learn(more, np.ones(5))

    assert np.array_equal(one.chance(more), other.chance(more))
    assert one.evidence == other.evidence


def ask(policy: ProfitPolicy, number: int, p_up: float) -> PredictionBatch:
    """What is served at close `number`: every perpetual leans the same way."""
    count = len(TRADED)
    first = life()[0].served
    sigma = np.full(count, 0.02)
    return replace(
        first,
        as_of=from_ms(to_ms(first.as_of) + number * Timeframe.H1.ms),
        instruments=TRADED,
        revision=np.ones(count, dtype=np.int64),
        feature_revision=np.ones(count, dtype=np.int64),
        probabilities=np.tile([0.8 - p_up, 0.2, p_up], (count, 1)),
        quantiles=np.outer(sigma, (-1.0, 0.0, 1.0)),
        volatility=sigma,
        degraded=("",) * count,
    )


def came(served: PredictionBatch, outcome: float, *, weight: float = 1.0) -> LabelBatch:
    count = len(served)
    known_ms = to_ms(served.as_of) + HORIZON * Timeframe.H1.ms
    return replace(
        life()[0].labels,
        instruments=served.instruments,
        as_of_ms=np.full(count, to_ms(served.as_of)),
        revision=served.revision,
        direction_known_ms=np.full(count, known_ms),
        known_ms=np.full(count, known_ms),
        outcome=np.full(count, outcome),
        weight=np.full(count, weight),
        log_return=np.full(count, 0.02 * outcome),
        realized_volatility=np.full(count, 0.02),
        uniqueness=np.ones(count),
    )


def taught(ticks: int, *, loser: str = "short") -> ProfitPolicy:
    """A policy that lived to see one side win, and the other lose, at every close."""
    policy = ProfitPolicy(horizon=HORIZON, settings=SETTINGS)
    for number in range(ticks):
        served = ask(policy, number, 0.6 if number % 2 else 0.1)
        list(policy.on_predictions(served))
        policy.on_labels(came(served, -1.0 if loser == "long" else 1.0))
    return policy


def test_a_side_that_loses_is_flat_once_that_is_proven() -> None:
    young, old = taught(8), taught(400)
    gates = {}
    for name, policy in (("young", young), ("old", old)):
        for side, p_up in (("long", 0.6), ("short", 0.1)):
            ((made,),) = [list(policy.on_predictions(ask(policy, 1_000, p_up)))]
            gates[name, side] = {signal.gate for signal in made.signals}

    assert not young.opinion.proven
    assert gates["young", "long"] == gates["young", "short"] == {""}
    assert gates["old", "long"] == {""}
    assert gates["old", "short"] == {"profit"}


def test_which_side_it_is_comes_from_what_happened() -> None:
    policy = taught(400, loser="long")
    ((made,),) = [list(policy.on_predictions(ask(policy, 1_000, 0.6)))]

    assert {signal.gate for signal in made.signals} == {"profit"}


def test_both_barriers_in_one_candle_are_a_loss_and_void_labels_nothing() -> None:
    policy = ProfitPolicy(horizon=HORIZON, settings=SETTINGS)
    for number, (outcome, weight) in enumerate(((0.0, 0.0), (np.nan, np.nan))):
        served = ask(policy, number, 0.6)
        list(policy.on_predictions(served))
        policy.on_labels(replace(came(served, outcome, weight=weight), log_return=np.full(3, 0.1)))

    assert policy.opinion.frequency == pytest.approx(1 / (2 + 1 / HORIZON))


def test_a_row_is_learnt_from_once_and_only_when_its_horizon_has_passed() -> None:
    policy = ProfitPolicy(horizon=HORIZON, settings=SETTINGS)
    served = ask(policy, 0, 0.6)
    list(policy.on_predictions(served))
    touched = replace(came(served, 1.0), known_ms=np.zeros(3, dtype=np.int64))

    policy.on_labels(touched)
    before = policy.opinion.frequency
    for _ in range(2):
        policy.on_labels(came(served, 1.0))

    assert before == 0.5
    assert policy.opinion.frequency == pytest.approx((1 + 1 / HORIZON) / (2 + 1 / HORIZON))
