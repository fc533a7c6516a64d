"""The synthetic market: the same for the same seed, and as predictable as it says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.oracle import oracle
from collectors.simulated.tape import Tape
from domain.events import Floats
from domain.market import Timeframe

NAMES = default_symbols(12)
HORIZON = 4
COST = 0.001  # a side
WARM = 200  # candles before the EWMA is trusted


def test_the_same_seed_gives_the_same_candles_and_another_seed_others() -> None:
    first = SyntheticMarket(NAMES, seed=3).candles(0, 300)

    np.testing.assert_array_equal(first, SyntheticMarket(NAMES, seed=3).candles(0, 300))
    assert not np.array_equal(first, SyntheticMarket(NAMES, seed=4).candles(0, 300))


def test_a_candle_depends_neither_on_later_candles_nor_on_what_else_is_listed() -> None:
    early = SyntheticMarket(NAMES, seed=3)
    few = early.candles(0, 10)
    many = SyntheticMarket(("ETH/USDT", "NEW/USDT", "BTC/USDT"), seed=3).candles(0, 1_000)

    np.testing.assert_array_equal(few[:, [1, 0]], many[:10, [0, 2]])
    np.testing.assert_array_equal(early.candles(0, 1_000)[:, [1, 0]], many[:, [0, 2]])


def test_steps_that_were_forgotten_are_drawn_again_the_same() -> None:
    market = SyntheticMarket(NAMES, seed=3)
    before = market.steps(5).copy()
    market.candles(0, 4_000)

    np.testing.assert_array_equal(market.steps(5), before)


def test_candles_are_possible_and_open_where_the_last_one_closed() -> None:
    open_, high, low, close, volume = np.moveaxis(SyntheticMarket(NAMES).candles(0, 1_000), -1, 0)

    assert (low > 0).all()
    assert (low <= np.minimum(open_, close)).all()
    assert (high >= np.maximum(open_, close)).all()
    assert (volume > 0).all()
    np.testing.assert_array_equal(open_[1:], close[:-1])


def test_shorter_timeframes_add_up_to_the_longer_ones() -> None:
    market = SyntheticMarket(NAMES[:2], finest=Timeframe.M5)
    tape = Tape(market)
    day = market.start_ms + Timeframe.D1.ms

    opens, minutes = tape.history(1, Timeframe.M5, market.start_ms, day)
    _, hours = tape.history(1, Timeframe.H1, market.start_ms, day)
    days, whole = tape.history(1, Timeframe.D1, market.start_ms, day)

    assert len(opens) == 288
    assert days.tolist() == [market.start_ms]
    by_hour = minutes.reshape(24, 12, 5)
    np.testing.assert_array_equal(by_hour[:, 0, 0], hours[:, 0])
    np.testing.assert_array_equal(by_hour[..., 1].max(axis=1), hours[:, 1])
    np.testing.assert_array_equal(by_hour[:, -1, 3], hours[:, 3])
    np.testing.assert_allclose(by_hour[..., 4].sum(axis=1), hours[:, 4])
    assert whole[0, 2] == hours[:, 2].min()
    assert whole[0, 3] == hours[-1, 3]


@pytest.mark.parametrize("timeframe", [Timeframe.M1, Timeframe.M15, Timeframe.H1, Timeframe.H4])
def test_volatility_is_1_percent_an_hour_and_grows_with_the_root_of_time(
    timeframe: Timeframe,
) -> None:
    market = SyntheticMarket(NAMES, timeframe=timeframe)
    deviation = np.median(log_returns(market.candles(0, 4_000)).std(axis=0))

    assert deviation / np.sqrt(timeframe.ms / Timeframe.H1.ms) == pytest.approx(0.01, rel=0.2)


def test_volatility_clusters_and_instruments_move_together() -> None:
    returns = log_returns(SyntheticMarket(NAMES).candles(0, 8_000))
    size = np.abs(returns)
    lagged = [np.corrcoef(size[24:, one], size[:-24, one])[0, 1] for one in range(12)]
    together = np.array(np.corrcoef(returns.T))[np.triu_indices(12, 1)]

    assert np.mean(lagged) > 0.05
    assert together.min() > 0.15
    assert together.max() < 0.6


def test_without_the_signal_the_past_says_nothing_of_the_direction() -> None:
    returns = log_returns(SyntheticMarket(NAMES, signal=0.0).candles(0, 8_000))
    truth = SyntheticMarket(NAMES, signal=0.0).truth(0, 100)
    scaled = returns / returns.std(axis=0)
    correlation = (scaled[1:] * scaled[:-1]).mean()

    assert (truth.drift == 0).all()
    assert abs(correlation) < 0.02  # four standard errors of 8 000 × 12 correlated pairs
    assert abs(log_returns(SyntheticMarket(NAMES).candles(0, 8_000))[:-1].mean()) < 1e-4


@pytest.mark.parametrize("seed", range(10))
def test_the_oracle_has_the_promised_skill_and_edge(seed: int) -> None:
    market = SyntheticMarket(NAMES, seed=seed)
    candles = market.candles(0, 3_000)
    barrier = barriers(candles)
    outcome, weight = outcomes(candles, barrier)
    forecast = oracle(market, 0, 3_000, horizon=HORIZON, barrier=barrier)

    rows = slice(WARM, 3_000 - HORIZON)
    skill = skill_of(forecast.probabilities[rows], outcome[rows], weight[rows])
    edge = np.abs(forecast.mean[rows]) > 2 * COST

    assert 0.04 <= skill <= 0.08
    assert edge.mean() >= 0.15
    assert (forecast.mean[rows] > 2 * COST).mean() >= 0.15  # spot only goes long


def test_the_oracle_knows_the_distribution_of_what_follows() -> None:
    market = SyntheticMarket(NAMES)
    candles = market.candles(0, 8_000)
    forecast = oracle(market, 0, 8_000, horizon=HORIZON, barrier=barriers(candles))
    close = np.log(candles[..., 3])
    followed = close[HORIZON:] - close[:-HORIZON]
    outcome, weight = outcomes(candles, barriers(candles))
    rows = slice(WARM, 8_000 - HORIZON)

    error = (followed[rows] - forecast.mean[rows]) / forecast.sigma[rows]
    said = forecast.probabilities[rows]
    for column, kind in enumerate((-1, 0, 1)):  # as often as said, where it said much and little
        high = said[..., column] > np.median(said[..., column])
        for part in (high, ~high):
            share = weight[rows] * (outcome[rows] == kind)
            assert share[part].mean() == pytest.approx(said[..., column][part].mean(), abs=0.02)

    assert error.mean() == pytest.approx(0.0, abs=0.05)
    assert error.std() == pytest.approx(1.0, abs=0.05)
    assert edge_earned(forecast.mean[rows], followed[rows]) > 0.002


def edge_earned(mean: Floats, followed: Floats) -> float:
    """Mean log return, cost taken, of following the oracle where it sees an edge."""
    taken = np.abs(mean) > 2 * COST
    return float((np.sign(mean) * followed)[taken].mean() - 2 * COST)


def log_returns(candles: Floats) -> Floats:
    returns: Floats = np.diff(np.log(candles[..., 3]), axis=0)
    return returns


def barriers(candles: Floats) -> Floats:
    """Distance k = 1 of EWMA sigma (alpha 0.06) times the root of the horizon, at least 2 costs."""
    close = np.log(candles[..., 3])
    squared = np.diff(close, axis=0, prepend=close[:1]) ** 2
    variance = np.empty_like(squared)
    variance[0] = squared[1:50].mean(axis=0)
    for t in range(1, len(squared)):
        variance[t] = 0.94 * variance[t - 1] + 0.06 * squared[t]
    floored: Floats = np.maximum(np.sqrt(variance * HORIZON), 2 * 2 * COST)
    return floored


def outcomes(candles: Floats, barrier: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Triple-barrier outcome of each close that has a horizon, and 0 where both were touched."""
    count = len(candles) - HORIZON
    close = np.log(candles[:count, :, 3])
    outcome = np.zeros(close.shape, dtype=np.int64)
    weight = np.ones(close.shape)
    open_rows = np.ones(close.shape, dtype=np.bool_)
    for ahead in range(1, HORIZON + 1):
        later = np.log(candles[ahead : ahead + count])
        up = open_rows & (later[..., 1] - close >= barrier[:count])
        down = open_rows & (later[..., 2] - close <= -barrier[:count])
        outcome += up.astype(np.int64) - down.astype(np.int64)
        weight[up & down] = 0.0
        open_rows &= ~(up | down)
    return outcome, weight


def skill_of(probabilities: Floats, outcome: NDArray[np.int64], weight: Floats) -> float:
    """1 - log loss / log loss of the classes' frequencies."""
    classes = outcome + 1
    frequencies = np.bincount(classes.ravel(), weights=weight.ravel()) / weight.sum()
    said = np.take_along_axis(probabilities, classes[..., None], axis=2)[..., 0]
    loss = -(weight * np.log(said)).sum()
    return 1.0 - float(loss / -(weight * np.log(frequencies[classes])).sum())
