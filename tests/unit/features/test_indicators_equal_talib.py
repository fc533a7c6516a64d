"""Every indicator that TA-Lib has equals TA-Lib's, on real candles, from the series' start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import talib

from domain.events import Floats
from domain.market import Instrument, Timeframe
from services.features.engine import FeatureEngine
from services.features.feature_set import OHLCV

BARS = 2_000
FILES = {
    "binance_BTC-USDT_1h": Timeframe.H1,  # prices of 1e5
    "binanceusdm_DOGE-USDT_1h": Timeframe.H1,  # prices of 1e-1, volumes of 1e8
    "binance_USD1-USDT_5m": Timeframe.M5,  # hardly any movement
}


@pytest.fixture(scope="module", params=FILES)
def candles(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Timeframe, Floats, Floats]:
    """Timeframe, close times (T,) and open, high, low, close, volume (5, T) of one file."""
    table = pq.read_table(shared_data / "ohlcv" / f"{request.param}.parquet").slice(0, BARS)
    timeframe = FILES[request.param]
    as_of_ms = table["timestamp"].to_numpy() + timeframe.ms
    columns = ("open", "high", "low", "close", "volume")
    return timeframe, as_of_ms, np.stack([table[name].to_numpy() for name in columns])


@pytest.fixture(scope="module")
def features(candles: tuple[Timeframe, Floats, Floats]) -> dict[str, Floats]:
    timeframe, as_of_ms, ohlcv = candles
    values, _ = FeatureEngine(OHLCV, "binance", timeframe).walk(
        instruments=[Instrument("binance", "BTC/USDT")],
        as_of_ms=as_of_ms.astype(np.int64),
        candles=ohlcv.T[:, np.newaxis, :],
    )
    return {name: values[:, 0, i] for i, name in enumerate(OHLCV.columns)}


def talib_columns(ohlcv: Floats) -> dict[str, Floats]:
    _, high, low, close, volume = (np.ascontiguousarray(row) for row in ohlcv)
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    slow_k, slow_d = talib.STOCH(high, low, close, fastk_period=14)
    return {  # STOCH smooths by 3 and 3, simple means, of its own
        "atr_14": talib.ATR(high, low, close, 14),
        "atr_ratio": talib.NATR(high, low, close, 14) / 100.0,
        "rsi_14": talib.RSI(close, 14),
        "macd_line": line,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "adx_14": talib.ADX(high, low, close, 14),
        "plus_di_14": talib.PLUS_DI(high, low, close, 14),
        "minus_di_14": talib.MINUS_DI(high, low, close, 14),
        "cci_20": talib.CCI(high, low, close, 20),
        "bollinger_upper": upper,
        "bollinger_middle": middle,
        "bollinger_lower": lower,
        "stochastic_k": slow_k,
        "stochastic_d": slow_d,
        "williams_r_14": talib.WILLR(high, low, close, 14),
        "obv": talib.OBV(close, volume),
        "mfi_14": talib.MFI(high, low, close, volume, 14),
    }


def test_every_indicator_equals_talib_on_real_candles(
    candles: tuple[Timeframe, Floats, Floats], features: dict[str, Floats]
) -> None:
    expected = talib_columns(candles[2])

    for name, reference in expected.items():
        ours = features[name]
        both = np.isfinite(reference) & np.isfinite(ours)
        scale = np.nanmax(np.abs(reference))

        assert both.sum() > 0.9 * BARS, name
        np.testing.assert_allclose(
            ours[both], reference[both], rtol=1e-8, atol=1e-10 * scale, err_msg=name
        )


def test_what_talib_knows_we_know_unless_it_is_undefined(
    candles: tuple[Timeframe, Floats, Floats], features: dict[str, Floats]
) -> None:
    for name, reference in talib_columns(candles[2]).items():
        missing = np.isfinite(reference) & np.isnan(features[name])

        # Where its denominator is zero TA-Lib says 0.
        assert (reference[missing] == 0.0).all(), name
