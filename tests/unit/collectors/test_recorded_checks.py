"""Impossible candles are named, one at a time and many at once."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.checks import EXTREME, REASONS, codes, possible, reason
from domain.events import Candle
from domain.market import LATEST_MS, Instrument, Timeframe
from services.features import grid

POSSIBLE = Candle(
    instrument=Instrument("test", "BTC/USDT"),
    timeframe=Timeframe.H1,
    open_ms=7_200_000,
    open=10.0,
    high=12.0,
    low=9.0,
    close=11.0,
    volume=0.0,
)
VALUES = st.sampled_from(
    [-1.0, 0.0, 1e-101, 8.0, 9.0, 10.0, 12.0, 1e101, math.inf, -math.inf, math.nan]
)
TIMES = st.sampled_from([0, 3_600_000, 5, -3_600_000, LATEST_MS, LATEST_MS + 3_600_000, 10**18])


def test_a_candle_that_touches_its_own_bounds_without_volume_is_possible() -> None:
    assert reason(replace(POSSIBLE, open=9.0, close=12.0)) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"open_ms": 7_200_001}, "open time is off the timeframe's grid"),
        ({"open_ms": -3_600_000}, "open time is out of range"),
        ({"open_ms": 10**18}, "open time is out of range"),
        ({"high": 1e101}, "a number is too large or too small to compute with"),
        ({"volume": 1e101}, "a number is too large or too small to compute with"),
        ({"low": 1e-101}, "a number is too large or too small to compute with"),
        ({"high": math.nan}, "high is not a finite number"),
        ({"volume": math.inf}, "volume is not a finite number"),
        ({"low": 0.0}, "low is not above zero"),
        ({"volume": -1.0}, "volume is negative"),
        ({"low": 10.5}, "low is above open, close or high"),
        ({"high": 10.5}, "high is below open or close"),
    ],
)
def test_an_impossible_candle_is_named(change: dict[str, float], expected: str) -> None:
    assert reason(replace(POSSIBLE, **change)) == expected  # type: ignore[arg-type]


@given(TIMES, st.tuples(VALUES, VALUES, VALUES, VALUES, VALUES))
def test_many_at_once_are_judged_as_one_at_a_time(
    open_ms: int, values: tuple[float, float, float, float, float]
) -> None:
    open_, high, low, close, volume = values
    candle = replace(
        POSSIBLE, open_ms=open_ms, open=open_, high=high, low=low, close=close, volume=volume
    )

    code = codes(np.array([open_ms]), np.array([values]), Timeframe.H1)[0]

    assert (REASONS[code] or None) == reason(candle)
    assert possible(np.array([values])) == (
        codes(np.array([0]), np.array([values]), Timeframe.H1)[0] == 0
    )


def test_a_candle_that_can_be_is_one_that_features_are_made_of() -> None:
    assert grid.EXTREME == EXTREME
