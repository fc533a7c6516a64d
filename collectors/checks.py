"""Candles that cannot be, and why."""

from __future__ import annotations

import math

import numpy as np

from domain.events import Candle, Floats, Ints
from domain.market import LATEST_MS, Timeframe

EXTREME = 1e100  # a test holds it equal to what features are made of
_FIELDS = ("open", "high", "low", "close", "volume")
REASONS = (
    "",
    "open time is off the timeframe's grid",
    *(f"{name} is not a finite number" for name in _FIELDS),
    *(f"{name} is not above zero" for name in _FIELDS[:4]),
    "volume is negative",
    "low is above open, close or high",
    "high is below open or close",
    "open time is out of range",
    "a number is too large or too small to compute with",
)
_OFF_GRID, _NOT_FINITE, _NOT_POSITIVE, _NEGATIVE, _LOW, _HIGH = 1, 2, 7, 11, 12, 13
_NO_TIME, _EXTREME = 14, 15


def reason(candle: Candle) -> str | None:
    """Why `candle` cannot be; None for one that can.

    One that can opens on its timeframe's grid from 1970 to 9999; its prices are finite and above
    zero with low <= open, close <= high; its volume is finite and not negative.
    """
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    if not 0 <= candle.open_ms <= LATEST_MS:
        return REASONS[_NO_TIME]
    if candle.open_ms % candle.timeframe.ms:
        return REASONS[_OFF_GRID]
    for field, value in enumerate(values):
        if not math.isfinite(value):
            return REASONS[_NOT_FINITE + field]
    for field, price in enumerate(values[:4]):
        if price <= 0:
            return REASONS[_NOT_POSITIVE + field]
    return _order_reason(candle)


def _order_reason(candle: Candle) -> str | None:
    if candle.volume < 0:
        return REASONS[_NEGATIVE]
    if candle.low > min(candle.open, candle.close, candle.high):
        return REASONS[_LOW]
    if candle.high < max(candle.open, candle.close):
        return REASONS[_HIGH]
    if not (candle.low > 1.0 / EXTREME and max(candle.high, candle.volume) < EXTREME):
        return REASONS[_EXTREME]
    return None


def codes(open_ms: Ints, values: Floats, timeframe: Timeframe) -> Ints:
    """`reason` for many candles at once.

    Args:
        open_ms: Open times, (n,).
        values: Open, high, low, close, volume, (n, 5).
        timeframe: Of all of them.

    Returns:
        Positions in `REASONS`, (n,); 0 where the candle can be.
    """
    open_, high, low, close, volume = values.T
    found = np.zeros(len(open_ms), dtype=np.int64)

    def mark(code: int, wrong: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
        found[(found == 0) & wrong] = code

    mark(_NO_TIME, (open_ms < 0) | (open_ms > LATEST_MS))
    mark(_OFF_GRID, open_ms % timeframe.ms != 0)
    for field in range(5):
        mark(_NOT_FINITE + field, ~np.isfinite(values[:, field]))
    with np.errstate(invalid="ignore"):
        for field in range(4):
            mark(_NOT_POSITIVE + field, values[:, field] <= 0)
        mark(_NEGATIVE, volume < 0)
        mark(_LOW, low > np.minimum(np.minimum(open_, close), high))
        mark(_HIGH, high < np.maximum(open_, close))
        mark(_EXTREME, ~((low > 1.0 / EXTREME) & (np.maximum(high, volume) < EXTREME)))
    return found


def possible(values: Floats) -> bool:
    """Whether `codes` has nothing to say of prices and volumes, sooner.

    Args:
        values: As `codes` has them.
    """
    open_, high, low, close, volume = values.T
    ordered = (low <= open_) & (low <= close) & (open_ <= high) & (close <= high)
    bounded = (low > 1.0 / EXTREME) & (high < EXTREME) & (volume >= 0) & (volume < EXTREME)
    return bool((ordered & bounded).all())
