"""The verdicts of the canaries on rows whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from services.scores.metrics import daily_auc
from services.scores.skill import DAY_MS
from tests.scenarios.judging import auc_of, hourly
from tests.scenarios.market import H1, HORIZON, clustered_noise

H4 = hourly(HORIZON)
PAST = 24  # candles of the move that is leant against
BARS = 90 * 24


@pytest.mark.parametrize("seed", range(3))
def test_a_lean_against_the_last_move_is_chance_on_a_walk(seed: int) -> None:
    rows = leaning(seed)

    found = auc_of(rows, H4)
    assert found.p > 0.01
    assert found.value == pytest.approx(0.5, abs=0.04)
    assert within_days(rows) > 0.52  # why it is not done by days


def test_the_outcome_itself_is_told() -> None:
    told = auc_of(
        [(as_of_ms, one, outcome, outcome) for as_of_ms, one, _, outcome in leaning(0)], H4
    )

    assert told.value == 1.0
    assert told.p < 1e-6


def leaning(seed: int) -> list[tuple[int, int, float, float]]:
    """Minus the last move, and the side of the next one."""
    series = clustered_noise(BARS, seed=seed)
    found = []
    for instrument, one in enumerate(series):
        close = np.log(one.close)
        past = close[PAST:-HORIZON] - close[: -PAST - HORIZON]
        outcome = np.sign(close[PAST + HORIZON :] - close[PAST:-HORIZON])
        times = one.open_ms[PAST:-HORIZON] + H1.ms
        found += [
            (int(ms), instrument, -lean, side)
            for ms, lean, side in zip(times, past.tolist(), outcome.tolist(), strict=True)
        ]
    return found


def within_days(rows: list[tuple[int, int, float, float]]) -> float:
    """The AUC with all rows of a day ranked against each other."""
    days = sorted({row[0] // DAY_MS for row in rows})[1:-1]
    of_day = {day: [row for row in rows if row[0] // DAY_MS == day] for day in days}
    table = np.array([[row[2:] for row in of_day[day]] for day in days])
    return daily_auc(table[..., 0], table[..., 1])
