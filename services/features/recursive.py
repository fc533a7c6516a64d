"""The columns that remember their whole series: Wilder means, EMAs, OBV, EWMA variance.

Seeds are those of TA-Lib: the first mean is a plain one, taken at the first candle at which
its period is complete; both averages of MACD begin at the longer one's first candle.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import types

from domain.events import Floats, Ints
from services.features.compiled import FLOAT_3D, INT_1D, INT_2D, Records, kernel, part, records
from services.features.feature_set import ROW

ABSENT, RESTARTS = 0, 2  # as grid.place writes them
PERIOD: Final = 14  # RSI, ATR, ADX
FAST, SLOW, SIGNAL = 12, 26, 9  # MACD
EWMA_ALPHA: Final = 0.06
EWMA_SEED: Final = 50  # squared returns

_NAMES = (
    "high low close obv gain loss atr plus_dm minus_dm true_range adx "
    "ema_fast ema_slow macd_signal ewma_variance"
)
RECURSIVE: Final = np.dtype([("count", np.int64), *((name, np.float64) for name in _NAMES.split())])
RECURSIVE_1D = records(RECURSIVE, 1)
ROW_2D = records(ROW, 2)


@part
def _known(count: int, needed: int, value: float) -> float:
    return value if count >= needed else np.nan


@part
def _ratio(part_: float, whole: float) -> float:
    return part_ / whole if whole > 0.0 else np.nan


@part
def _mean(mean: float, value: float, count: int, period: int) -> float:
    """Wilder's mean after the `count`-th value; before the `period`-th, their sum."""
    if count < period:
        return mean + value
    if count == period:
        return (mean + value) / period
    return (mean * (period - 1) + value) / period


@part
def _sum(total: float, value: float, count: int) -> float:
    """Wilder's sum, which first fades at the PERIOD-th value."""
    return (total if count < PERIOD else total - total / PERIOD) + value


@part
def _begin(state: np.void) -> None:
    state["count"] = 0
    state["obv"] = state["gain"] = state["loss"] = state["atr"] = 0.0
    state["plus_dm"] = state["minus_dm"] = state["true_range"] = state["adx"] = 0.0
    state["ema_fast"] = state["ema_slow"] = state["macd_signal"] = 0.0
    state["ewma_variance"] = 0.0


@part
def _strength(close: float, state: np.void, row: np.void) -> None:
    """RSI, OBV and the EWMA variance, from the change of the close."""
    moves = state["count"] - 1
    change = close - state["close"]
    state["gain"] = _mean(state["gain"], max(change, 0.0), moves, PERIOD)
    state["loss"] = _mean(state["loss"], max(-change, 0.0), moves, PERIOD)
    rsi = 100.0 * _ratio(state["gain"], state["gain"] + state["loss"])
    row["rsi_14"] = _known(moves, PERIOD, rsi)
    state["obv"] += np.sign(change) * row["volume"]
    row["obv"] = state["obv"]
    square = np.log(close / state["close"]) ** 2
    if moves <= EWMA_SEED:
        state["ewma_variance"] = _mean(state["ewma_variance"], square, moves, EWMA_SEED)
    else:
        state["ewma_variance"] += EWMA_ALPHA * (square - state["ewma_variance"])
    row["ewma_variance"] = _known(moves, EWMA_SEED, state["ewma_variance"])


@part
def _direction(high: float, low: float, state: np.void, row: np.void) -> None:
    """ATR, the directional indicators and ADX."""
    moves = state["count"] - 1
    true_range = max(high - low, abs(high - state["close"]), abs(low - state["close"]))
    state["atr"] = _mean(state["atr"], true_range, moves, PERIOD)
    row["atr_14"] = _known(moves, PERIOD, state["atr"])
    row["atr_ratio"] = row["atr_14"] / row["close"]
    up, down = high - state["high"], state["low"] - low
    state["plus_dm"] = _sum(state["plus_dm"], up if up > max(down, 0.0) else 0.0, moves)
    state["minus_dm"] = _sum(state["minus_dm"], down if down > max(up, 0.0) else 0.0, moves)
    state["true_range"] = _sum(state["true_range"], true_range, moves)
    plus = 100.0 * _ratio(state["plus_dm"], state["true_range"])
    minus = 100.0 * _ratio(state["minus_dm"], state["true_range"])
    row["plus_di_14"] = _known(moves, PERIOD, plus)
    row["minus_di_14"] = _known(moves, PERIOD, minus)
    if moves >= PERIOD:
        # Without any movement TA-Lib's seed counts 0, and its mean later stays as it is.
        moved = state["plus_dm"] + state["minus_dm"]
        index = 100.0 * abs(state["plus_dm"] - state["minus_dm"]) / moved if moved > 0.0 else 0.0
        if moved > 0.0 or moves < 2 * PERIOD:
            state["adx"] = _mean(state["adx"], index, moves - PERIOD + 1, PERIOD)
    row["adx_14"] = _known(moves, 2 * PERIOD - 1, state["adx"] + 0.0 * plus)


@part
def _ema(mean: float, value: float, count: int, period: int) -> float:
    """EMA of 2 / (period + 1) seeded by the plain mean of the first `period` values."""
    if count <= period:
        return _mean(mean, value, count, period)
    return mean + 2.0 / (period + 1) * (value - mean)


@part
def _macd(close: float, state: np.void, row: np.void) -> None:
    count = state["count"]
    state["ema_slow"] = _ema(state["ema_slow"], close, count, SLOW)
    if count > SLOW - FAST:
        state["ema_fast"] = _ema(state["ema_fast"], close, count - (SLOW - FAST), FAST)
    line = state["ema_fast"] - state["ema_slow"]
    if count >= SLOW:
        state["macd_signal"] = _ema(state["macd_signal"], line, count - SLOW + 1, SIGNAL)
    row["macd_line"] = _known(count, SLOW, line)
    row["macd_signal"] = _known(count, SLOW + SIGNAL - 1, state["macd_signal"])
    row["macd_histogram"] = row["macd_line"] - row["macd_signal"]
    row["macd_line_ratio"] = row["macd_line"] / close
    row["macd_signal_ratio"] = row["macd_signal"] / close
    row["macd_histogram_ratio"] = row["macd_histogram"] / close


@part
def _step(candle: Floats, state: np.void, row: np.void) -> None:
    high, low, close = candle[1], candle[2], candle[3]
    state["count"] += 1
    if state["count"] == 1:
        state["obv"] = row["obv"] = candle[4]
    else:
        _strength(close, state, row)
        _direction(high, low, state, row)
    _macd(close, state, row)
    state["high"], state["low"], state["close"] = high, low, close


@kernel(types.void, FLOAT_3D, INT_2D, INT_1D, RECURSIVE_1D, ROW_2D)
def recurse(candles: Floats, presence: Ints, slots: Ints, states: Records, rows: Records) -> None:
    """Fill the recursive columns of `rows` (T, n), after windows.roll, and move the states on.

    Args:
        candles: (T, n, 5) open, high, low, close, volume.
        presence: (T, n) as grid.place filled it.
        slots: (n,) positions in `states`.
        states: (capacity,) of RECURSIVE.
        rows: (T, n) of ROW.
    """
    for i in range(slots.shape[0]):
        state = states[slots[i]]
        for t in range(candles.shape[0]):
            if presence[t, i] == ABSENT:
                continue
            if presence[t, i] == RESTARTS:
                _begin(state)
            _step(candles[t, i], state, rows[t, i])
