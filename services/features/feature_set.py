"""The columns of `ohlcv@1`: what each one is, in which unit, and from which candle on it is known.

Conventions: O, H, L, C, V are the candle's own; C[k] is the close k candles ago; r is
ln(C / C[1]); T is (H + L + C) / 3; means, sums, highest and lowest run over the last n
candles that exist, the present one included. Nothing is annualised. A hole of up to 3
candles is stepped over (r spans it); after a longer one everything starts anew.
A column is NaN before it is known and wherever its denominator is zero.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from domain.events import FeatureSet

# The windows of 168 need 169 candles; what a Wilder mean still holds of its seed after
# 200 candles is (13/14)^186, about a millionth.
WARMUP_BARS: Final = 200


class Unit(StrEnum):
    """What a column is measured in; models read only those without price or volume."""

    PRICE = "price"  # quote currency
    VOLUME = "volume"  # base currency
    NONE = "none"


class Column(NamedTuple):
    """One column: name, unit, the candle from which it is known, formula and source."""

    name: str
    unit: Unit
    known_after: int  # candles since the series (re)started
    formula: str


_P, _V, _N = Unit.PRICE, Unit.VOLUME, Unit.NONE

COLUMNS: Final = (
    Column("open", _P, 1, "O"),
    Column("high", _P, 1, "H"),
    Column("low", _P, 1, "L"),
    Column("close", _P, 1, "C"),
    Column("volume", _V, 1, "V"),
    # Returns and volatilities, of one candle
    Column("log_return_1", _N, 2, "r"),
    Column("log_return_4", _N, 5, "ln(C / C[4])"),
    Column("log_return_12", _N, 13, "ln(C / C[12])"),
    Column("log_return_24", _N, 25, "ln(C / C[24])"),
    Column("log_return_72", _N, 73, "ln(C / C[72])"),
    Column("log_return_168", _N, 169, "ln(C / C[168])"),
    Column("realized_volatility_4", _N, 5, "sqrt(mean of r² over 4)"),
    Column("realized_volatility_24", _N, 25, "sqrt(mean of r² over 24)"),
    Column("realized_volatility_168", _N, 169, "sqrt(mean of r² over 168)"),
    Column("volatility_ratio_24_168", _N, 169, "realized_volatility_24 / _168"),
    Column("downside_share_24", _N, 25, "sum of r² where r < 0 / sum of r², over 24"),
    Column("parkinson_volatility_24", _N, 24, "sqrt(mean ln²(H/L) / (4 ln 2)); Parkinson 1980"),
    Column("gk_variance_1", _N, 1, "ln²(H/L)/2 - (2 ln 2 - 1) ln²(C/O); Garman & Klass 1980"),
    Column("gk_variance_4", _N, 4, "mean of gk_variance_1 over 4"),
    Column("gk_variance_24", _N, 24, "mean of gk_variance_1 over 24"),
    Column("gk_variance_168", _N, 168, "mean of gk_variance_1 over 168"),
    Column("ewma_variance", _N, 51, "mean of the first 50 r², then v += 0.06 (r² - v)"),
    # Trend and momentum
    Column("atr_14", _P, 15, "Wilder mean of the true range; TA-Lib ATR"),
    Column("atr_ratio", _N, 15, "atr_14 / C"),
    Column("rsi_14", _N, 15, "100 gain / (gain + loss), Wilder means; TA-Lib RSI"),
    Column("macd_line", _P, 26, "EMA12 - EMA26 of C, both seeded at candle 26; TA-Lib MACD"),
    Column("macd_signal", _P, 34, "EMA9 of macd_line, seeded by its first 9"),
    Column("macd_histogram", _P, 34, "macd_line - macd_signal"),
    Column("macd_line_ratio", _N, 26, "macd_line / C"),
    Column("macd_signal_ratio", _N, 34, "macd_signal / C"),
    Column("macd_histogram_ratio", _N, 34, "macd_histogram / C"),
    Column("adx_14", _N, 28, "Wilder mean of 100 |+DI - -DI| / (+DI + -DI); TA-Lib ADX"),
    Column("plus_di_14", _N, 15, "100 Wilder sum of +DM / of true range; TA-Lib PLUS_DI"),
    Column("minus_di_14", _N, 15, "100 Wilder sum of -DM / of true range; TA-Lib MINUS_DI"),
    Column("cci_20", _N, 20, "(T - mean T) / (0.015 mean |T - mean T|); TA-Lib CCI"),
    # Place within the recent range
    Column("bollinger_upper", _P, 20, "mean C + 2 population std of C; TA-Lib BBANDS 20, 2"),
    Column("bollinger_middle", _P, 20, "mean of C over 20"),
    Column("bollinger_lower", _P, 20, "mean C - 2 population std of C"),
    Column("bollinger_position", _N, 20, "%b: (C - lower) / (upper - lower)"),
    Column("bollinger_width", _N, 20, "(upper - lower) / middle"),
    Column("stochastic_k", _N, 16, "mean over 3 of 100 (C - L14) / (H14 - L14); STOCH(14, 3, 3)"),
    Column("stochastic_d", _N, 18, "mean of stochastic_k over 3; STOCH(14, 3, 3), SMA"),
    Column("williams_r_14", _N, 14, "-100 (H14 - C) / (H14 - L14); TA-Lib WILLR"),
    Column("position_in_range_24", _N, 24, "(C - L24) / (H24 - L24)"),
    # Volume
    Column("vwap", _P, 24, "sum T V / sum V over 24"),
    Column("vwap_distance", _N, 24, "C / vwap - 1"),
    Column("obv", _V, 1, "V of the first candle, then + V sign(C - C[1]); TA-Lib OBV"),
    Column("obv_ratio_24", _N, 25, "sum of V sign(C - C[1]) / sum of V, over 24"),
    Column("mfi_14", _N, 15, "100 positive / all money flow T V over 14; TA-Lib MFI"),
    Column("volume_z_24", _N, 24, "(V - mean V) / population std of V, over 24"),
    # Shape of the candle
    Column("body_ratio", _N, 1, "(C - O) / (H - L)"),
    Column("upper_wick_ratio", _N, 1, "(H - max(O, C)) / (H - L)"),
    Column("lower_wick_ratio", _N, 1, "(min(O, C) - L) / (H - L)"),
    Column("range_ratio", _N, 1, "(H - L) / C"),
    # as_of in UTC; the week begins on Monday
    Column("time_of_day_sin", _N, 1, "sin 2π (share of the day gone)"),
    Column("time_of_day_cos", _N, 1, "cos 2π (share of the day gone)"),
    Column("day_of_week_sin", _N, 1, "sin 2π (share of the week gone)"),
    Column("day_of_week_cos", _N, 1, "cos 2π (share of the week gone)"),
    # Among the members of the tick's cross-section. A rank is (members below + half of
    # those equal, itself included) / members: 0.5 for one alone.
    Column("market_return_1", _N, 2, "mean of the members' r"),
    Column("return_rank_1", _N, 2, "rank of r"),
    Column("return_rank_24", _N, 25, "rank of log_return_24"),
    Column("volatility_rank", _N, 25, "rank of realized_volatility_24"),
    Column("market_beta", _N, 51, "E[r m] / E[m²], E weighing by 0.98^age, m = market_return_1"),
    Column("market_correlation", _N, 51, "E[r m] / sqrt(E[r²] E[m²]); about zero means"),
)

OHLCV: Final = FeatureSet(
    name="ohlcv",
    version=1,
    columns=tuple(column.name for column in COLUMNS),
    model_columns=tuple(column.name for column in COLUMNS if column.unit is Unit.NONE),
    warmup_bars=WARMUP_BARS,
)

ROW: Final = np.dtype([(name, np.float64) for name in OHLCV.columns])
