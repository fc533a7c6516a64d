"""Where candles stand on their series' time grid: order, holes, restarts, coverage."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import types

from domain.events import Floats, Ints
from services.features.compiled import (
    FLOAT_2D,
    FLOAT_3D,
    INT_1D,
    INT_2D,
    INT_TRIPLE,
    Records,
    kernel,
    part,
    records,
)

COVERAGE_BARS: Final = 200  # a test holds it equal to the feature set's warmup_bars
LONGEST_HOLE: Final = 3  # candles that a series may lack without starting anew
ABSENT, FOLLOWS, RESTARTS = 0, 1, 2
SOUND, OUT_OF_ORDER, IMPOSSIBLE, REPEATED = 0, 1, 2, 3
EXTREME: Final = 1e100  # no product of two such numbers overflows

SERIES: Final = np.dtype(
    [
        ("tick", np.int64),  # of the last candle: its close time / timeframe; 0 before any
        ("present", np.int64),  # ones in `seen`
        ("seen", np.uint8, (COVERAGE_BARS,)),  # at tick % COVERAGE_BARS
    ]
)
SERIES_1D = records(SERIES, 1)


@part
def _is_impossible(candle: Floats) -> bool:
    opened, high, low, close = candle[0], candle[1], candle[2], candle[3]
    if not (1.0 / EXTREME < low <= opened <= high < EXTREME):
        return True
    return not (low <= close <= high and 0.0 <= candle[4] < EXTREME)


@part
def _is_absent(candle: Floats) -> bool:
    known = 0
    for value in candle:
        known += not np.isnan(value)
    return known == 0


@kernel(INT_TRIPLE, FLOAT_3D, INT_1D, INT_1D, SERIES_1D)
def first_fault(candles: Floats, ticks: Ints, slots: Ints, series: Records) -> tuple[int, int, int]:
    """The first candle that cannot be taken: (fault, its row, its column); changes nothing.

    Args:
        candles: (T, n, 5) open, high, low, close, volume; all NaN where there is none.
        ticks: (T,) increasing.
        slots: (n,) positions in `series`.
        series: (capacity,) of SERIES.
    """
    taken = np.zeros(series.shape[0], dtype=np.uint8)
    for i in range(slots.shape[0]):
        if taken[slots[i]]:
            return REPEATED, 0, i
        taken[slots[i]] = 1
    for t in range(candles.shape[0]):
        for i in range(slots.shape[0]):
            if _is_absent(candles[t, i]):
                continue
            if ticks[t] <= series[slots[i]]["tick"]:
                return OUT_OF_ORDER, t, i
            if _is_impossible(candles[t, i]):
                return IMPOSSIBLE, t, i
    return SOUND, 0, 0


@part
def _advance(series: np.void, tick: int) -> int:
    """Mark the candle of `tick` as seen; whether it follows or restarts the series."""
    step = tick - series["tick"]
    seen = series["seen"]
    for passed in range(max(series["tick"] + 1, tick - COVERAGE_BARS + 1), tick + 1):
        place = passed % COVERAGE_BARS
        series["present"] -= seen[place]
        seen[place] = 0
    seen[tick % COVERAGE_BARS] = 1
    series["present"] += 1
    series["tick"] = tick
    return FOLLOWS if step <= LONGEST_HOLE + 1 else RESTARTS


@kernel(types.void, FLOAT_3D, INT_1D, INT_1D, SERIES_1D, INT_2D, FLOAT_2D)
def place(
    candles: Floats, ticks: Ints, slots: Ints, series: Records, presence: Ints, coverage: Floats
) -> None:
    """Fill `presence` (T, n) with ABSENT, FOLLOWS or RESTARTS, and `coverage` (T, n).

    Coverage is the share of the last COVERAGE_BARS grid places that hold a candle, NaN
    where the present one is absent.
    """
    for i in range(slots.shape[0]):
        for t in range(ticks.shape[0]):
            if np.isnan(candles[t, i, 3]):
                presence[t, i] = ABSENT
                coverage[t, i] = np.nan
                continue
            presence[t, i] = _advance(series[slots[i]], ticks[t])
            coverage[t, i] = series[slots[i]]["present"] / COVERAGE_BARS
