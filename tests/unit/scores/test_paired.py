"""Losses of forecasters on what they share."""

from __future__ import annotations

import json

import numpy as np
import pytest

from domain.events import Origin, Role, Target
from domain.market import Horizon, Timeframe
from services.scores.paired import PairedLosses
from tests.unit.scores.rows import HOUR, outcome

HORIZON = Horizon(Timeframe.H1, 2)  # blocks of four hours
POOL, PRIOR = "pool.direction", "class_prior.direction"


@pytest.fixture
def paired() -> PairedLosses:
    return PairedLosses("simulated", HORIZON, Target.DIRECTION, [POOL, PRIOR])


def test_dates_come_when_their_block_is_over(paired: PairedLosses) -> None:
    closed = []
    for hour in range(4, 9):
        closed.append(len(paired.add(outcome(hour, [1, 3])).as_of_ms))
        if hour < 8:
            paired.add(outcome(hour, [2, 4], model=PRIOR))

    assert closed == [0, 0, 0, 0, 4]


def test_instruments_are_pooled_on_each_date(paired: PairedLosses) -> None:
    paired.add(outcome(4, [1, 3]))
    paired.add(outcome(4, [2, 6], model=PRIOR))

    dates = paired.add(outcome(8, [1, 1]))

    assert dates.as_of_ms.tolist() == [4 * HOUR]
    assert dates.losses.tolist() == [[2, 4]]
    assert dates.counts.tolist() == [2]


def test_only_instruments_that_all_judged_are_compared(paired: PairedLosses) -> None:
    paired.add(outcome(4, [1, 100]))
    paired.add(outcome(4, [2, np.nan], model=PRIOR))

    dates = paired.add(outcome(8, [1]))

    assert dates.losses.tolist() == [[1, 2]]
    assert dates.counts.tolist() == [1]


def test_a_forecaster_that_was_silent_has_no_loss(paired: PairedLosses) -> None:
    paired.add(outcome(4, [1, 3]))

    dates = paired.add(outcome(8, [1]))

    assert dates.losses[0, 0] == 2
    assert np.isnan(dates.losses[0, 1])


def test_one_on_trial_is_not_mistaken_for_one_that_serves(paired: PairedLosses) -> None:
    paired.add(outcome(4, [1]))
    paired.add(outcome(4, [5], role=Role.CHALLENGER))

    assert paired.add(outcome(8, [1])).losses[:, 0].tolist() == [1]


def test_what_is_not_live_or_not_ours_is_not_looked_at(paired: PairedLosses) -> None:
    for strange in (
        outcome(4, [9], origin=Origin.BACKTEST),
        outcome(4, [9], horizon=3),
        outcome(4, [9], exchange="other"),
        outcome(4, [9], model="river.direction"),
    ):
        paired.add(strange)

    assert len(paired.add(outcome(8, [1])).as_of_ms) == 0


def test_a_closed_block_is_not_opened_again(paired: PairedLosses) -> None:
    paired.add(outcome(4, [1]))
    paired.add(outcome(8, [1]))
    paired.add(outcome(5, [100]))

    assert paired.add(outcome(12, [1])).as_of_ms.tolist() == [8 * HOUR]


def test_volatility_is_judged_by_its_own_loss() -> None:
    paired = PairedLosses("simulated", HORIZON, Target.VOLATILITY, ["pool.volatility"])
    paired.add(outcome(4, [0.5], "qlike", model="pool.volatility"))

    assert paired.add(outcome(8, [1], "qlike", model="pool.volatility")).losses.tolist() == [[0.5]]


def test_it_continues_from_its_snapshot(paired: PairedLosses) -> None:
    paired.add(outcome(4, [1 / 3, 0.1]))
    paired.add(outcome(4, [2 / 3, 0.7], model=PRIOR))
    other = PairedLosses("simulated", HORIZON, Target.DIRECTION, [POOL, PRIOR])
    other.restore(json.loads(json.dumps(paired.snapshot())))

    first, second = paired.add(outcome(8, [1])), other.add(outcome(8, [1]))

    assert first.losses.tobytes() == second.losses.tobytes()
    assert paired.snapshot() == other.snapshot()
