"""The columns that depend on the last candles only, from windows kept newest last.

Every sum runs over the window anew, oldest part last, so that nothing drifts: these columns
are a function of the candles in the window, to the bit, wherever the series began.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import types

from domain.events import Floats, Ints
from services.features.compiled import FLOAT_3D, INT_1D, INT_2D, Records, kernel, part, records
from services.features.feature_set import ROW

ABSENT, RESTARTS = 0, 2  # as grid.place writes them
LONG: Final = 168
SHORT: Final = 24
BAND: Final = 20  # Bollinger, CCI
SWING: Final = 14  # stochastic, Williams %R, MFI
SMOOTH: Final = 3  # stochastic %K and %D
ROUNDING: Final = 1e-12  # of a typical price; nearer ones differ only by their division by 3

WINDOWS: Final = np.dtype(
    [
        ("count", np.int64),  # candles since the series (re)started
        ("returns", np.float64, (LONG,)),
        ("gk_variance", np.float64, (LONG,)),
        ("high", np.float64, (SHORT,)),
        ("low", np.float64, (SHORT,)),
        ("close", np.float64, (SHORT,)),
        ("volume", np.float64, (SHORT,)),
        ("typical", np.float64, (SHORT,)),
        ("signed_volume", np.float64, (SHORT,)),
        ("signed_flow", np.float64, (SHORT,)),
        ("log_range", np.float64, (SHORT,)),
        ("fast_k", np.float64, (2 * SMOOTH - 1,)),
    ]
)
WINDOWS_1D = records(WINDOWS, 1)
ROW_2D = records(ROW, 2)


@part
def _push(window: Floats, value: float) -> None:
    last = window.shape[0] - 1
    for i in range(last):
        window[i] = window[i + 1]
    window[last] = value


@part
def _known(count: int, needed: int, value: float) -> float:
    return value if count >= needed else np.nan


@part
def _ratio(part_: float, whole: float) -> float:
    return part_ / whole if whole > 0.0 else np.nan


@part
def _sum(window: Floats, first: int, last: int, origin: float) -> float:
    """The sum of value - `origin` over `first` ≤ age < `last`; last - first = 4 k.

    Four lanes, fixed by hand, since strict arithmetic lets no compiler reorder a sum.
    """
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(window.shape[0] - last, window.shape[0] - first, 4):
        a += window[i] - origin
        b += window[i + 1] - origin
        c += window[i + 2] - origin
        d += window[i + 3] - origin
    return (a + b) + (c + d)


@part
def _sums(window: Floats, first: int, last: int) -> tuple[float, float]:
    """The sums of the values and of their squares, as `_sum` takes them, in one pass."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    e, f, g, h = 0.0, 0.0, 0.0, 0.0
    for i in range(window.shape[0] - last, window.shape[0] - first, 4):
        a += window[i]
        b += window[i + 1]
        c += window[i + 2]
        d += window[i + 3]
        e += window[i] ** 2
        f += window[i + 1] ** 2
        g += window[i + 2] ** 2
        h += window[i + 3] ** 2
    return (a + b) + (c + d), (e + f) + (g + h)


@part
def _sum_squares(window: Floats, first: int, last: int, origin: float) -> float:
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(window.shape[0] - last, window.shape[0] - first, 4):
        a += (window[i] - origin) ** 2
        b += (window[i + 1] - origin) ** 2
        c += (window[i + 2] - origin) ** 2
        d += (window[i + 3] - origin) ** 2
    return (a + b) + (c + d)


@part
def _sum_distances(window: Floats, length: int, origin: float) -> float:
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(window.shape[0] - length, window.shape[0], 4):
        a += abs(window[i] - origin)
        b += abs(window[i + 1] - origin)
        c += abs(window[i + 2] - origin)
        d += abs(window[i + 3] - origin)
    return (a + b) + (c + d)


@part
def _moments(window: Floats, length: int) -> tuple[float, float]:
    """Mean and population standard deviation of the last `length` values.

    Taken about the newest value: a constant window has a deviation of exactly 0.
    """
    newest = window[window.shape[0] - 1]
    mean = newest + _sum(window, 0, length, newest) / length
    return mean, math.sqrt(_sum_squares(window, 0, length, mean) / length)


@part
def _take(candle: Floats, state: np.void, row: np.void) -> None:
    """Put the candle into the windows."""
    opened, high, low, close, volume = candle[0], candle[1], candle[2], candle[3], candle[4]
    row["open"], row["high"], row["low"], row["close"] = opened, high, low, close
    row["volume"] = volume
    typical = (high + low + close) / 3.0
    log_range, log_body = math.log(high / low), math.log(close / opened)
    gk_variance = 0.5 * log_range**2 - (2.0 * math.log(2.0) - 1.0) * log_body**2
    row["gk_variance_1"] = gk_variance
    if state["count"] > 0:
        change = close - state["close"][SHORT - 1]
        rise = typical - state["typical"][SHORT - 1]
        rise = rise if abs(rise) > ROUNDING * typical else 0.0
        _push(state["returns"], math.log(close / state["close"][SHORT - 1]))
        _push(state["signed_volume"], np.sign(change) * volume)
        _push(state["signed_flow"], np.sign(rise) * typical * volume)
    state["count"] += 1
    _push(state["gk_variance"], gk_variance)
    _push(state["high"], high)
    _push(state["low"], low)
    _push(state["close"], close)
    _push(state["volume"], volume)
    _push(state["typical"], typical)
    _push(state["log_range"], log_range)


@part
def _shape(candle: Floats, row: np.void) -> None:
    opened, high, low, close = candle[0], candle[1], candle[2], candle[3]
    height = high - low
    row["body_ratio"] = _ratio(close - opened, height)
    row["upper_wick_ratio"] = _ratio(high - max(opened, close), height)
    row["lower_wick_ratio"] = _ratio(min(opened, close) - low, height)
    row["range_ratio"] = height / close


@part
def _returns(state: np.void, row: np.void) -> None:
    """Returns over several windows and what their squares say."""
    known, returns = state["count"] - 1, state["returns"]
    sum_4, squares_4 = _sums(returns, 0, 4)
    sum_12, squares_12 = _sums(returns, 4, 12)
    sum_24, squares_24 = _sums(returns, 12, 24)
    sum_72, squares_72 = _sums(returns, 24, 72)
    sum_168, squares_168 = _sums(returns, 72, LONG)
    sum_12 += sum_4
    sum_24 += sum_12
    sum_72 += sum_24
    row["log_return_1"] = _known(known, 1, returns[LONG - 1])
    row["log_return_4"] = _known(known, 4, sum_4)
    row["log_return_12"] = _known(known, 12, sum_12)
    row["log_return_24"] = _known(known, 24, sum_24)
    row["log_return_72"] = _known(known, 72, sum_72)
    row["log_return_168"] = _known(known, LONG, sum_72 + sum_168)
    squares_24 += squares_4 + squares_12
    squares_168 += squares_24 + squares_72
    volatility_24, volatility_168 = math.sqrt(squares_24 / 24), math.sqrt(squares_168 / LONG)
    row["realized_volatility_4"] = _known(known, 4, math.sqrt(squares_4 / 4))
    row["realized_volatility_24"] = _known(known, 24, volatility_24)
    row["realized_volatility_168"] = _known(known, LONG, volatility_168)
    row["volatility_ratio_24_168"] = _known(known, LONG, _ratio(volatility_24, volatility_168))
    downside = 0.0
    for i in range(LONG - 24, LONG):
        downside += min(returns[i], 0.0) ** 2
    row["downside_share_24"] = _known(known, 24, _ratio(downside, squares_24))


@part
def _range_volatility(state: np.void, row: np.void) -> None:
    """Garman-Klass variances and Parkinson's volatility, from the candles' own ranges."""
    count, gk_variance = state["count"], state["gk_variance"]
    gk_4 = _sum(gk_variance, 0, 4, 0.0)
    gk_24 = gk_4 + _sum(gk_variance, 4, 24, 0.0)
    gk_168 = gk_24 + _sum(gk_variance, 24, LONG, 0.0)
    row["gk_variance_4"] = _known(count, 4, gk_4 / 4)
    row["gk_variance_24"] = _known(count, 24, gk_24 / 24)
    row["gk_variance_168"] = _known(count, LONG, gk_168 / LONG)
    squared_range = _sum_squares(state["log_range"], 0, SHORT, 0.0) / SHORT
    parkinson = math.sqrt(squared_range / (4.0 * math.log(2.0)))
    row["parkinson_volatility_24"] = _known(count, SHORT, parkinson)


@part
def _range(state: np.void, row: np.void) -> None:
    """Stochastic, Williams %R and the place between the extremes of 14 and 24 candles."""
    count, highs, lows = state["count"], state["high"], state["low"]
    close = state["close"][SHORT - 1]
    high, low = highs[SHORT - 1], lows[SHORT - 1]
    for i in range(SHORT - SWING, SHORT):
        high, low = max(high, highs[i]), min(low, lows[i])
    fast_k = _ratio(100.0 * (close - low), high - low)
    row["williams_r_14"] = _known(count, SWING, _ratio(-100.0 * (high - close), high - low))
    for i in range(SHORT - SWING):
        high, low = max(high, highs[i]), min(low, lows[i])
    row["position_in_range_24"] = _known(count, SHORT, _ratio(close - low, high - low))
    k = state["fast_k"]
    _push(k, fast_k)
    newest = (k[2] + k[3] + k[4]) / SMOOTH
    row["stochastic_k"] = _known(count, SWING + 2, newest)
    slow_d = (newest + (k[1] + k[2] + k[3]) / SMOOTH + (k[0] + k[1] + k[2]) / SMOOTH) / SMOOTH
    row["stochastic_d"] = _known(count, SWING + 4, slow_d)


@part
def _bands(state: np.void, row: np.void) -> None:
    """Bollinger bands and the commodity channel index."""
    count, close = state["count"], state["close"][SHORT - 1]
    middle, deviation = _moments(state["close"], BAND)
    row["bollinger_upper"] = _known(count, BAND, middle + 2.0 * deviation)
    row["bollinger_middle"] = _known(count, BAND, middle)
    row["bollinger_lower"] = _known(count, BAND, middle - 2.0 * deviation)
    position = 0.5 + _ratio(close - middle, 4.0 * deviation)
    row["bollinger_position"] = _known(count, BAND, position)
    row["bollinger_width"] = _known(count, BAND, 4.0 * deviation / middle)
    mean, spread = _moments(state["typical"], BAND)
    distance = _sum_distances(state["typical"], BAND, mean) / BAND
    if spread <= ROUNDING * mean:
        distance = 0.0
    cci = _ratio(state["typical"][SHORT - 1] - mean, 0.015 * distance)
    row["cci_20"] = _known(count, BAND, cci)


@part
def _volume(state: np.void, row: np.void) -> None:
    count, volumes = state["count"], state["volume"]
    total = _sum(volumes, 0, SHORT, 0.0)
    traded = 0.0
    for i in range(SHORT):
        traded += volumes[i] * state["typical"][i]
    vwap = _ratio(traded, total) if traded > 0.0 else np.nan  # price × volume may underflow to 0
    row["vwap"] = _known(count, SHORT, vwap)
    row["vwap_distance"] = _known(count, SHORT, state["close"][SHORT - 1] / vwap - 1.0)
    signed = _sum(state["signed_volume"], 0, SHORT, 0.0)
    row["obv_ratio_24"] = _known(count, SHORT + 1, _ratio(signed, total))
    mean, deviation = _moments(volumes, SHORT)
    row["volume_z_24"] = _known(count, SHORT, _ratio(volumes[SHORT - 1] - mean, deviation))
    gained, moved = 0.0, 0.0
    for i in range(SHORT - SWING, SHORT):
        gained += max(state["signed_flow"][i], 0.0)
        moved += abs(state["signed_flow"][i])
    row["mfi_14"] = _known(count, SWING + 1, 100.0 * _ratio(gained, moved))


@kernel(types.void, FLOAT_3D, INT_2D, INT_1D, WINDOWS_1D, ROW_2D)
def roll(candles: Floats, presence: Ints, slots: Ints, states: Records, rows: Records) -> None:
    """Fill the window columns of `rows` (T, n) and move the windows on.

    Args:
        candles: (T, n, 5) open, high, low, close, volume.
        presence: (T, n) as grid.place filled it.
        slots: (n,) positions in `states`.
        states: (capacity,) of WINDOWS.
        rows: (T, n) of ROW.
    """
    for i in range(slots.shape[0]):
        state = states[slots[i]]
        for t in range(candles.shape[0]):
            if presence[t, i] == ABSENT:
                continue
            if presence[t, i] == RESTARTS:
                state["count"] = 0
            row = rows[t, i]
            _take(candles[t, i], state, row)
            _shape(candles[t, i], row)
            _returns(state, row)
            _range_volatility(state, row)
            _range(state, row)
            _bands(state, row)
            _volume(state, row)
