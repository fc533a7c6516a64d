"""Columns that TA-Lib lacks, against their formula written out over plain slices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from domain.events import Floats
from domain.market import Instrument, Timeframe, from_ms
from services.features.engine import FeatureEngine
from services.features.feature_set import OHLCV
from tests.factories import random_walk

HOUR = Timeframe.H1.ms
MONDAY_MS = 1_704_067_200_000  # 2024-01-01T00:00Z
BARS, INSTRUMENTS = 260, 5
NAMES = tuple(Instrument("binance", f"S{i}/USDT") for i in range(INSTRUMENTS))


def close_times(bars: int, first_ms: int = MONDAY_MS) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return first_ms + HOUR * np.arange(bars)


def columns(candles: Floats, first_ms: int = MONDAY_MS) -> dict[str, Floats]:
    """The columns (T, n) of `candles` (T, n, 5), from a new engine."""
    values, _ = FeatureEngine(OHLCV, "binance", Timeframe.H1).walk(
        instruments=NAMES[: candles.shape[1]],
        as_of_ms=close_times(len(candles), first_ms),
        candles=candles,
    )
    return {name: values[..., i] for i, name in enumerate(OHLCV.columns)}


@pytest.fixture(scope="module")
def walk() -> Floats:
    return np.stack(list(random_walk(BARS, INSTRUMENTS, seed=3).values()), axis=-1)


@pytest.fixture(scope="module")
def features(walk: Floats) -> dict[str, Floats]:
    return columns(walk)


def near(actual: object, expected: object) -> bool:
    return bool(np.allclose(np.asarray(actual), np.asarray(expected), rtol=1e-10, atol=1e-14))


def test_one_candle_is_described_by_its_own_prices() -> None:
    candle = columns(np.array([[[100.0, 110.0, 95.0, 105.0, 7.0]]]))

    assert candle["gk_variance_1"][0, 0] == pytest.approx(
        0.5 * math.log(110 / 95) ** 2 - (2 * math.log(2) - 1) * math.log(1.05) ** 2
    )
    assert candle["body_ratio"][0, 0] == pytest.approx(5 / 15)
    assert candle["upper_wick_ratio"][0, 0] == pytest.approx(5 / 15)
    assert candle["lower_wick_ratio"][0, 0] == pytest.approx(5 / 15)
    assert candle["range_ratio"][0, 0] == pytest.approx(15 / 105)
    assert [candle[name][0, 0] for name in OHLCV.columns[:5]] == [100.0, 110.0, 95.0, 105.0, 7.0]


@pytest.mark.parametrize("window", [1, 4, 12, 24, 72, 168])
def test_a_log_return_compares_with_the_close_so_many_candles_ago(
    walk: Floats, features: dict[str, Floats], window: int
) -> None:
    close = walk[:, :, 3]

    expected = np.log(close[window:] / close[:-window])

    assert near(features[f"log_return_{window}"][window:], expected)
    assert np.isnan(features[f"log_return_{window}"][:window]).all()


@pytest.mark.parametrize("window", [4, 24, 168])
def test_volatilities_are_means_over_their_window(
    walk: Floats, features: dict[str, Floats], window: int
) -> None:
    opened, high, low, close, _ = np.moveaxis(walk, -1, 0)
    squares = np.diff(np.log(close), axis=0) ** 2
    variances = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / opened) ** 2

    realized = np.sqrt(squares[-window:].mean(axis=0))

    assert near(features[f"realized_volatility_{window}"][-1], realized)
    assert near(features[f"gk_variance_{window}"][-1], variances[-window:].mean(axis=0))


def test_ratios_of_volatility_over_a_day(walk: Floats, features: dict[str, Floats]) -> None:
    _, high, low, close, _ = np.moveaxis(walk, -1, 0)
    returns = np.diff(np.log(close), axis=0)
    day = returns[-24:]

    ranges = np.log(high[-24:] / low[-24:]) ** 2
    fallen = np.where(day < 0, day, 0)
    ratio = np.sqrt((day**2).mean(axis=0) / (returns[-168:] ** 2).mean(axis=0))

    assert near(
        features["parkinson_volatility_24"][-1], np.sqrt(ranges.mean(axis=0) / 4 / np.log(2))
    )
    assert near(features["downside_share_24"][-1], (fallen**2).sum(axis=0) / (day**2).sum(axis=0))
    assert near(features["volatility_ratio_24_168"][-1], ratio)


def test_the_ewma_variance_starts_from_the_mean_of_fifty_squared_returns(
    walk: Floats, features: dict[str, Floats]
) -> None:
    squares = np.diff(np.log(walk[:, :, 3]), axis=0) ** 2
    expected = squares[:50].mean(axis=0)

    assert np.isnan(features["ewma_variance"][49]).all()
    assert near(features["ewma_variance"][50], expected)
    for row in range(50, BARS - 1):
        expected = 0.94 * expected + 0.06 * squares[row]
        assert near(features["ewma_variance"][row + 1], expected)


def test_volume_columns_over_a_day(walk: Floats, features: dict[str, Floats]) -> None:
    _, high, low, close, volume = np.moveaxis(walk, -1, 0)
    typical = ((high + low + close) / 3)[-24:]
    traded = volume[-24:]
    signed = (np.sign(np.diff(close, axis=0)) * volume[1:])[-24:]

    vwap = (typical * traded).sum(axis=0) / traded.sum(axis=0)

    assert near(features["vwap"][-1], vwap)
    assert near(features["vwap_distance"][-1], close[-1] / vwap - 1)
    assert near(features["obv_ratio_24"][-1], signed.sum(axis=0) / traded.sum(axis=0))
    z = (traded[-1] - traded.mean(axis=0)) / traded.std(axis=0)
    assert near(features["volume_z_24"][-1], z)


def test_columns_without_units_are_ratios_of_those_with(
    walk: Floats, features: dict[str, Floats]
) -> None:
    close, last = walk[-1, :, 3], {name: rows[-1] for name, rows in features.items()}
    high, low = walk[-24:, :, 1].max(axis=0), walk[-24:, :, 2].min(axis=0)
    band = last["bollinger_upper"] - last["bollinger_lower"]

    assert near(last["position_in_range_24"], (close - low) / (high - low))
    assert near(last["bollinger_position"], (close - last["bollinger_lower"]) / band)
    assert near(last["bollinger_width"], band / last["bollinger_middle"])
    for name in ("line", "signal", "histogram"):
        assert near(last[f"macd_{name}_ratio"], last[f"macd_{name}"] / close)


def test_the_clock_columns_turn_once_a_day_and_once_a_week_from_monday() -> None:
    candles = np.tile([100.0, 110.0, 95.0, 105.0, 7.0], (7 * 24, 1, 1))

    clock = columns(candles)

    at = {name: rows[:, 0] for name, rows in clock.items()}
    assert (at["time_of_day_sin"][0], at["time_of_day_cos"][0]) == (0.0, 1.0)
    assert at["time_of_day_sin"][6] == pytest.approx(1.0)
    assert at["time_of_day_cos"][12 + 24] == pytest.approx(-1.0)
    assert (at["day_of_week_sin"][0], at["day_of_week_cos"][0]) == (0.0, 1.0)
    assert at["day_of_week_cos"][84] == pytest.approx(-1.0)
    assert from_ms(MONDAY_MS).weekday() == 0


def test_the_market_is_the_mean_and_ranks_are_places_among_the_members() -> None:
    candles = np.tile([100.0, 200.0, 50.0, 100.0, 1.0], (2, 4, 1))
    candles[1, :, 3] = [90.0, 120.0, 120.0, 110.0]

    tick = {name: rows[1] for name, rows in columns(candles).items()}

    # One of four is below 110, and two share the top: (2 + 2 / 2) / 4.
    assert tick["return_rank_1"].tolist() == [0.125, 0.75, 0.75, 0.375]
    expected = math.log(0.9 * 1.2 * 1.2 * 1.1) / 4
    assert tick["market_return_1"] == pytest.approx([expected] * 4, rel=1e-12)


def test_an_instrument_alone_is_its_own_market(walk: Floats) -> None:
    alone = {name: rows[-1, 0] for name, rows in columns(walk[:, :1]).items()}

    assert alone["market_return_1"] == alone["log_return_1"]
    assert alone["return_rank_1"] == alone["return_rank_24"] == alone["volatility_rank"] == 0.5
    assert alone["market_beta"] == pytest.approx(1.0, rel=1e-12)
    assert alone["market_correlation"] == pytest.approx(1.0, rel=1e-12)


def test_beta_and_correlation_weigh_recent_returns_more(
    walk: Floats, features: dict[str, Floats]
) -> None:
    returns = np.diff(np.log(walk[:, :, 3]), axis=0)
    market = returns.mean(axis=1, keepdims=True)
    weights = 0.98 ** np.arange(len(returns))[::-1, np.newaxis]

    cross = (weights * returns * market).sum(axis=0)
    own, common = ((weights * x**2).sum(axis=0) for x in (returns, market))

    assert near(features["market_beta"][-1], cross / common)
    assert near(features["market_correlation"][-1], cross / np.sqrt(own * common))
    assert np.isnan(features["market_beta"][49]).all()
    assert np.isfinite(features["market_beta"][50]).all()
