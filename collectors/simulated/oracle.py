"""What a forecaster who knows the synthetic market's generator would say.

The state at a close (drift x, volatilities) fixes the distribution of what follows. The mean of
the log return has a formula; the probabilities of the triple barrier are simulated once for a
grid of (x, distance of the barrier in candle sigmas) and read from it, as nothing else matters
but how volatility wanders until the horizon, which is simulated along.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from collectors.simulated.draws import MARKET_MEMORY, MARKET_SHOCK, OWN_MEMORY, OWN_SHOCK
from collectors.simulated.market import RHO, G, SyntheticMarket
from domain.events import Bools, Floats, Ints

_DRIFTS = np.linspace(-1.5, 1.5, 25)  # x; its standard deviation is about 0.18
_DISTANCES = np.geomspace(0.4, 8.0, 24)  # barrier / sigma of the next candle
_PATHS = 3_000  # and their mirror images
_STEPS = 4  # of the walk within a candle


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """The oracle's forecast at each close, arrays of shape (candles, instruments)."""

    mean: Floats  # of the log return over the horizon
    sigma: Floats  # its standard deviation, given volatility as it stands
    probabilities: Floats  # (candles, instruments, 3): down, flat, up


def oracle(
    market: SyntheticMarket, first: int, last: int, *, horizon: int, barrier: Floats
) -> Forecast:
    """The forecast at the closes of candles first <= index < last.

    Args:
        market: The market that is forecast.
        first: Index of the first candle.
        last: Index after the last candle.
        horizon: Candles ahead.
        barrier: Distance of both barriers from the close as a log return,
            (last - first, instruments).
    """
    truth = market.truth(first, last)
    sigma = np.exp(truth.log_sigma)
    decay = RHO ** np.arange(horizon)
    # Weight of the shock j candles before the end: itself and what it does to later drifts.
    passed = np.concatenate([[0.0], np.cumsum(decay)[:-1]])
    weights = 1.0 - G * market.signal * passed
    return Forecast(
        mean=sigma * truth.drift * decay.sum(),
        sigma=sigma * math.sqrt(float((weights**2).sum())),
        probabilities=_table(market.signal, horizon).read(truth.drift, barrier / sigma),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Table:
    probabilities: Floats  # (drifts, distances, 3)

    def read(self, drift: Floats, distance: Floats) -> Floats:
        """Bilinear between the grid's points."""
        row, row_share = _place(_DRIFTS, drift)
        column, column_share = _place(np.log(_DISTANCES), np.log(distance))
        table = self.probabilities
        row_share, column_share = row_share[..., None], column_share[..., None]
        low = table[row, column] * (1 - column_share) + table[row, column + 1] * column_share
        high = (
            table[row + 1, column] * (1 - column_share) + table[row + 1, column + 1] * column_share
        )
        read: Floats = low * (1 - row_share) + high * row_share
        return read


def _place(grid: Floats, values: Floats) -> tuple[Ints, Floats]:
    clipped = np.clip(values, grid[0], grid[-1])
    index = np.minimum(np.searchsorted(grid, clipped, side="right") - 1, len(grid) - 2)
    return index, (clipped - grid[index]) / (grid[index + 1] - grid[index])


@lru_cache(maxsize=8)
def _table(signal: float, horizon: int) -> _Table:
    walks = _Walks.draw(signal, horizon)
    rows = [walks.probabilities(drift) for drift in _DRIFTS]
    return _Table(probabilities=np.stack(rows))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Walks:
    shocks: Floats  # (paths, horizon, steps), already scaled by volatility and by 1 / sqrt(steps)
    sigma: Floats  # (paths, horizon) relative to the last candle's
    feedback: Floats  # (paths, horizon) drift that earlier shocks cause
    extremes: Floats  # (2, paths, horizon, steps): -2 ln U

    @classmethod
    def draw(cls, signal: float, horizon: int) -> _Walks:
        generator = np.random.default_rng(0)
        half = generator.standard_normal((_PATHS, horizon, _STEPS))
        shocks = np.concatenate([half, -half])
        total = shocks.sum(axis=2) / math.sqrt(_STEPS)
        feedback = np.zeros((len(shocks), horizon))
        for t in range(1, horizon):
            feedback[:, t] = RHO * feedback[:, t - 1] - G * signal * total[:, t - 1]
        sigma = np.exp(_wandering(generator, horizon))
        sigma = np.concatenate([sigma, sigma])
        return cls(
            shocks=shocks * sigma[:, :, None] / math.sqrt(_STEPS),
            sigma=sigma,
            feedback=feedback,
            extremes=generator.exponential(2.0, (2, *shocks.shape)),
        )

    def probabilities(self, drift: float) -> Floats:
        """Down, flat, up at every distance: (distances, 3)."""
        paths, horizon = self.sigma.shape
        expected = drift * RHO ** np.arange(horizon) + self.feedback
        moves = self.shocks + (self.sigma * expected)[:, :, None] / _STEPS
        ends = np.cumsum(moves.reshape(paths, -1), axis=1).reshape(moves.shape)
        starts = ends - moves
        variance = (self.sigma**2)[:, :, None] / _STEPS
        spread = np.sqrt(moves**2 + variance * self.extremes)
        highs = ((starts + ends + spread[0]) / 2).max(axis=2)
        lows = ((starts + ends - spread[1]) / 2).min(axis=2)
        return np.stack([_shares(highs, lows, distance) for distance in _DISTANCES])


def _wandering(generator: np.random.Generator, horizon: int) -> Floats:
    """How the log of volatility moves from where it is: (paths, horizon).

    Its pull back to where it was long ago is left out: 1 to 3 % of the way per candle.
    """
    shock = math.hypot(MARKET_SHOCK, OWN_SHOCK)
    memory = (MARKET_MEMORY + OWN_MEMORY) / 2
    wandering = np.zeros((_PATHS, horizon))
    level = np.zeros(_PATHS)
    for t in range(horizon):
        level = memory * level + shock * generator.standard_normal(_PATHS)
        wandering[:, t] = level
    return wandering


def _shares(highs: Floats, lows: Floats, distance: float) -> Floats:
    """Shares of down, flat and up; paths that touch both barriers in one candle are left out."""
    up, down = _first(highs >= distance), _first(lows <= -distance)
    never = highs.shape[1]
    judged = (up != down) | (up == never)
    counts = np.array([(down < up).sum(), (judged & (up == down)).sum(), (up < down).sum()])
    # Half a path each, so that no outcome is ever called impossible.
    shares: Floats = (counts + 0.5) / (judged.sum() + 1.5)
    return shares


def _first(touched: Bools) -> Ints:
    """Index of the first touch along axis 1; its length where there is none."""
    first: Ints = np.where(touched.any(axis=1), touched.argmax(axis=1), touched.shape[1])
    return first
