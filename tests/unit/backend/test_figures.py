"""How sure a return of signals is."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.figures import deflated, sureness
from domain.market import Horizon, Timeframe
from services.scores.sharpe import deflated_sharpe
from services.scores.skill import DAY_MS

H4 = Horizon(Timeframe.H1, 4)
DAYS = np.arange(100, 140)


def rows(gains: dict[int, list[float]]) -> list[Any]:
    """Signals by day: those that ended, and one that is open."""
    ended: list[Any] = [
        {"as_of_ms": day * DAY_MS + 5, "realized_return": gain}
        for day, found in gains.items()
        for gain in found
    ]
    return [*ended, {"as_of_ms": 139 * DAY_MS, "realized_return": None}]


def test_a_gain_of_one_lucky_day_is_less_sure_than_the_same_of_many() -> None:
    lucky = sureness(rows({120: [0.4]}), DAYS, H4, seed=1)
    steady = sureness(rows({day: [0.01] for day in range(100, 140)}), DAYS, H4, seed=1)

    assert (lucky["closed"], steady["closed"]) == (1, 40)
    assert lucky["net_return_interval95"][0] == 0.0
    np.testing.assert_allclose(steady["net_return_interval95"], [0.4, 0.4])
    assert lucky["hit_rate_interval95"] == steady["hit_rate_interval95"] == [1.0, 1.0]


def test_without_an_ended_signal_or_with_too_few_days_there_is_no_interval() -> None:
    none, short = sureness(rows({}), DAYS, H4, seed=1), sureness(rows({100: [1]}), DAYS[:9], H4, 1)

    for found in (none, short):
        assert (found["net_return_interval95"], found["hit_rate_interval95"]) == (None, None)


def test_a_sharpe_ratio_is_of_periods_that_do_not_overlap_and_of_all_that_was_tried() -> None:
    gains = np.random.default_rng(5).normal(0.003, 0.01, size=40)
    ended = rows({day: [gain] for day, gain in zip(range(100, 140), gains, strict=True)})
    two_days = Horizon(Timeframe.H1, 30)

    assert deflated(ended, DAYS, H4, 9) == {
        "deflated_sharpe": deflated_sharpe(gains, 9),
        "n_trials": 9,
    }
    found = deflated(ended, DAYS, two_days, 1)["deflated_sharpe"]
    np.testing.assert_allclose(found, deflated_sharpe(gains.reshape(20, 2).sum(axis=1), 1))
    assert deflated(rows({}), DAYS, H4, 1)["deflated_sharpe"] is None
