"""The seeded synthetic market: regimes, correlated instruments and a planted signal.

The structure, per candle t of the market's own timeframe and instrument i, all shocks standard
normal and independent unless said otherwise:

- **Volatility.** ln s[t,i] = ln(HOURLY_SIGMA · √(timeframe / 1 h) · character) + R[t] + M[t]
  + V[t,i]. R moves towards the level of a Markov regime (calm, normal, wild) common to all; M,
  common, and V, the instrument's own, are AR(1). So volatility clusters, in part for all at once.
- **Shocks.** e[t,i] = l[i] · f[t] + √(1 - l[i]²) · u[t,i], f a market factor.
- **Return.** ln close[t] - ln close[t-1] = s[t,i] · (x[t,i] + e[t,i]).
- **The planted signal** x[t+1,i] = RHO · x[t,i] - G · signal · e[t,i]: prices lean back after a
  move. Written with returns z = x + e it is x[t+1] = (RHO + G) · x[t] - G · z[t] (at signal 1),
  an average of past standardised returns with the memory of RSI(14), so candles show it.
  At signal 0, x = 0 and log prices are a martingale. The oracle's log loss of triple barriers
  (horizon 4, EWMA sigma) is 7 % below the prior's, 3 % without the signal: it also knows the
  volatility that the barriers' EWMA only estimates.
- **Candles.** Each candle is a walk of `parts` steps; a step's high and low are drawn from the
  extremes of a Brownian bridge between its ends. Volume rises with s and with the step's shock.

Draws come from generators seeded by (seed, instrument, block of candles): a candle depends
neither on how many candles follow it nor on what else is listed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from collectors.simulated.draws import BLOCK, Draws, State, Volatility
from collectors.simulated.instruments import Character, character
from domain.events import Floats, Ints
from domain.market import Timeframe

START_MS = 1_704_067_200_000  # 2024-01-01, on the grid of every timeframe
RHO = 0.8
G = 0.125  # with RHO: x has the memory RHO + G = 0.925; RSI(14) has 13/14 = 0.929
HOURLY_SIGMA = 0.0090  # times the character's multiple; 1 % in the median with regimes
VOLUME_DECIMALS = 5
_KEPT_BLOCKS = 4  # blocks whose steps stay in memory; others are drawn again when asked for


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What the generator knew at each close; arrays of shape (candles, instruments)."""

    drift: Floats  # x of the next candle
    log_sigma: Floats  # ln s of the candle that closed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Block:
    steps: Floats  # (BLOCK, parts, instruments, 5)
    candles: Floats  # (BLOCK, instruments, 5)
    truth: Truth
    after: State


class SyntheticMarket:
    """An endless market of correlated instruments; rows are open, high, low, close, volume.

    Args:
        symbols: What is listed, in this order.
        seed: Same seed, same candles.
        timeframe: Of the candles that carry the structure.
        finest: The shortest timeframe that can be asked for; it must divide `timeframe`.
        signal: Strength of the planted signal; 0 turns it off.
        start_ms: Open time of the first candle.
    """

    end_ms: int | None = None

    def __init__(
        self,
        symbols: tuple[str, ...],
        *,
        seed: int = 1,
        timeframe: Timeframe = Timeframe.H1,
        finest: Timeframe | None = None,
        signal: float = 1.0,
        start_ms: int = START_MS,
    ) -> None:
        self.symbols = symbols
        self.timeframe = timeframe
        self.start_ms = start_ms
        self.signal = signal
        self.parts = parts_of_candle(timeframe, finest)
        self.finer = finest is not None
        self.characters = tuple(character(symbol) for symbol in symbols)
        self.decimals: Ints = np.array([one.decimals for one in self.characters])
        self._seed = seed % 2**63
        self._loading = np.array([one.loading for one in self.characters])
        self._log_scale = np.log([one.volatility for one in self.characters]) + math.log(
            HOURLY_SIGMA * math.sqrt(timeframe.ms / Timeframe.H1.ms)
        )
        self._volume = _mean_volumes(self.characters, timeframe)
        self._states = [self._first_state()]
        self._candles: list[Floats] = []
        self._truths: list[Truth] = []
        self._recent: OrderedDict[int, _Block] = OrderedDict()

    def candles(self, first: int, last: int, column: int | None = None) -> Floats:
        """Candles first <= index < last: (n, instruments, 5), or (n, 5) of one column."""
        if last <= first:
            return np.empty((0, 5) if column is not None else (0, len(self.symbols), 5))
        blocks = range(first // BLOCK, (last - 1) // BLOCK + 1)
        self._draw_until(blocks[-1])
        chosen = [self._candles[block] for block in blocks]
        rows = np.concatenate([one if column is None else one[:, column] for one in chosen])
        offset = blocks[0] * BLOCK
        return rows[first - offset : last - offset]

    def steps(self, index: int) -> Floats:
        """The walk inside candle `index`: (parts, instruments, 5)."""
        self._draw_until(index // BLOCK)
        steps: Floats = self._block(index // BLOCK).steps[index % BLOCK]
        return steps

    def ready_ms(self, candles: int) -> int:
        """When `candles` have closed."""
        return self.start_ms + candles * self.timeframe.ms

    def truth(self, first: int, last: int) -> Truth:
        """What the generator knew at the closes of candles first <= index < last."""
        blocks = range(first // BLOCK, (last - 1) // BLOCK + 1)
        self._draw_until(blocks[-1])
        cut = slice(first - blocks[0] * BLOCK, last - blocks[0] * BLOCK)
        known = [self._truths[block] for block in blocks]
        return Truth(
            drift=np.concatenate([one.drift for one in known])[cut],
            log_sigma=np.concatenate([one.log_sigma for one in known])[cut],
        )

    def _draw_until(self, block: int) -> None:
        while len(self._candles) <= block:
            drawn = self._block(len(self._candles))
            self._candles.append(drawn.candles)
            self._truths.append(drawn.truth)
            self._states.append(drawn.after)

    def _block(self, index: int) -> _Block:
        if index not in self._recent:
            self._recent[index] = self._draw(index)
            if len(self._recent) > _KEPT_BLOCKS:
                self._recent.popitem(last=False)
        return self._recent[index]

    def _first_state(self) -> State:
        count = len(self.symbols)
        return State(
            log_price=np.log([one.price for one in self.characters]),
            drift=np.zeros(count),
            own_volatility=np.zeros(count),
            market_volatility=0.0,
            regime_level=0.0,
            regime=1,
        )

    def _draw(self, index: int) -> _Block:
        draws = Draws.of_block(self._seed, index, self.parts, self.characters)
        before = self._states[index]
        own = np.sqrt(1.0 - self._loading**2)
        shocks = self._loading * draws.factor[:, :, None] + own * draws.own  # (BLOCK, parts, n)
        drift, state_drift = self._drifts(before.drift, shocks.sum(axis=1) / math.sqrt(self.parts))
        volatility = Volatility.walk(before, draws)
        log_sigma = self._log_scale + volatility.log_excess
        sigma = np.exp(log_sigma)[:, None, :]
        moves = sigma * (drift[:, None, :] / self.parts + shocks / math.sqrt(self.parts))
        path = before.log_price + np.cumsum(moves.reshape(-1, len(self.symbols)), axis=0)
        starts = np.concatenate([before.log_price[None], path[:-1]]).reshape(moves.shape)
        ends = path.reshape(moves.shape)
        steps = np.empty((*moves.shape, 5))
        self._prices(steps, starts, ends, variance=sigma**2 / self.parts, draws=draws)
        steps[..., 4] = self._volumes(volatility.log_excess, shocks, draws)
        return _Block(
            steps=steps,
            candles=_candles_of_steps(steps),
            truth=Truth(
                drift=np.concatenate([drift[1:], state_drift[None]]),
                log_sigma=log_sigma,
            ),
            after=State(
                log_price=path[-1],
                drift=state_drift,
                own_volatility=volatility.own,
                market_volatility=volatility.market,
                regime_level=volatility.regime_level,
                regime=volatility.regime,
            ),
        )

    def _drifts(self, drift: Floats, shocks: Floats) -> tuple[Floats, Floats]:
        """Drift x of each candle of the block, and of the first after it."""
        drifts = np.empty_like(shocks)
        for t in range(len(shocks)):
            drifts[t] = drift
            drift = RHO * drift - G * self.signal * shocks[t]
        return drifts, drift

    def _prices(
        self, steps: Floats, starts: Floats, ends: Floats, *, variance: Floats, draws: Draws
    ) -> None:
        """Open, high, low and close of every step, rounded to the price's decimals.

        The maximum of a Brownian bridge from a to b with variance v is
        (a + b + √((b - a)² - 2 v ln U)) / 2, U uniform; the minimum likewise.
        """
        span = (ends - starts) ** 2
        high = (starts + ends + np.sqrt(span - 2 * variance * draws.log_uniform[0])) / 2
        low = (starts + ends - np.sqrt(span - 2 * variance * draws.log_uniform[1])) / 2
        per_unit = 10.0**self.decimals
        for field, log_price in enumerate((starts, high, low, ends)):
            ticks = np.maximum(np.rint(np.exp(log_price) * per_unit), 1.0)
            steps[..., field] = ticks / per_unit

    def _volumes(self, log_excess: Floats, shocks: Floats, draws: Draws) -> Floats:
        """Volume of every step, base currency."""
        level = self._volume / self.parts * np.exp(log_excess + 0.3 * draws.volume)
        unit = 10.0**VOLUME_DECIMALS
        volumes: Floats = np.rint(level[:, None, :] * (0.5 + 0.6 * np.abs(shocks)) * unit)
        return np.maximum(volumes, 1.0) / unit


def parts_of_candle(timeframe: Timeframe, finest: Timeframe | None) -> int:
    """Steps per candle: those of the finest timeframe, else 4.

    Raises:
        ValueError: `finest` does not divide `timeframe`.
    """
    if finest is None or finest == timeframe:
        return 4
    if timeframe.ms % finest.ms or finest.ms > timeframe.ms:
        message = f"{finest} does not divide {timeframe}"
        raise ValueError(message)
    return timeframe.ms // finest.ms


def _candles_of_steps(steps: Floats) -> Floats:
    candles = np.empty((len(steps), *steps.shape[2:]))
    candles[..., 0] = steps[:, 0, :, 0]
    candles[..., 1] = steps[..., 1].max(axis=1)
    candles[..., 2] = steps[..., 2].min(axis=1)
    candles[..., 3] = steps[:, -1, :, 3]
    candles[..., 4] = np.round(steps[..., 4].sum(axis=1), VOLUME_DECIMALS)
    return candles


def _mean_volumes(characters: tuple[Character, ...], timeframe: Timeframe) -> Floats:
    hours = timeframe.ms / Timeframe.H1.ms
    return np.array([one.turnover * hours / one.price for one in characters])
