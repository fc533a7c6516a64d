"""A prediction is fresh neither when it is old nor when it is ahead of the clock."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.api.callers import LOOPBACK, operator
from backend.api.status import Market, Status
from domain.market import Timeframe
from tests.doubles import START
from tests.factories import BTC


def fresh(age: timedelta, timeframe: Timeframe, speed: float) -> bool:
    """Whether a prediction of that age, of market time, is."""
    status = Status(
        market=Market.SIMULATED, speed=speed, instruments=(BTC,), timeframes=(timeframe,)
    )
    status.predicted(timeframe, (BTC,), START)
    public: bool = status.public(START + age, operator(LOOPBACK, "127.0.0.1"))["fresh"]
    assert public is not bool(status.stale(START + age))
    return public


@pytest.mark.parametrize(
    ("age", "timeframe", "speed", "expected"),
    [
        (timedelta(seconds=-5), Timeframe.M1, 1.0, True),
        (timedelta(seconds=-60), Timeframe.M1, 1.0, True),
        (timedelta(seconds=-61), Timeframe.M1, 1.0, False),
        (timedelta(hours=-4), Timeframe.H1, 3_600.0, True),  # four seconds of the wall
        (timedelta(hours=-6), Timeframe.H1, 3_600.0, False),
        (timedelta(minutes=1, seconds=31), Timeframe.M1, 1.0, False),
    ],
)
def test_a_prediction_ahead_of_the_clock_by_more_than_skew_is_not_fresh(
    age: timedelta,
    timeframe: Timeframe,
    speed: float,
    expected: bool,  # noqa: FBT001 - of the table
) -> None:
    assert fresh(age, timeframe, speed) is expected
