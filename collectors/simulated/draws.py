"""What the synthetic market draws for a block of candles: shocks, and how volatility walks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.simulated.instruments import Character
from domain.events import Floats

BLOCK = 256  # candles drawn together
REGIMES = np.array([-0.3, 0.0, 0.35])  # calm, normal, wild
STAY = 0.996  # chance that a regime lasts one candle more
REGIME_MEMORY = 0.97  # R nears the regime's level by 3 % a candle
MARKET_MEMORY, MARKET_SHOCK = 0.99, 0.01  # M
OWN_MEMORY, OWN_SHOCK = 0.985, 0.015  # V


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """What the next candle is drawn from; arrays of shape (instruments,)."""

    log_price: Floats
    drift: Floats  # x of the next candle
    own_volatility: Floats  # V of the last candle
    market_volatility: float  # M of the last candle
    regime_level: float  # R of the last candle
    regime: int  # of the last candle


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Standard normal unless said otherwise; n instruments."""

    factor: Floats  # (BLOCK, parts)
    market_volatility: Floats  # (BLOCK,)
    regime: Floats  # (BLOCK,) uniform
    own: Floats  # (BLOCK, parts, n)
    own_volatility: Floats  # (BLOCK, n)
    volume: Floats  # (BLOCK, n)
    log_uniform: Floats  # (2, BLOCK, parts, n), at most 0

    @classmethod
    def of_block(
        cls, seed: int, block: int, parts: int, characters: tuple[Character, ...]
    ) -> Draws:
        """The draws of one block, each instrument's from a generator of its own."""
        common = np.random.default_rng([seed, block, 0])
        normal = np.empty((BLOCK, parts + 2, len(characters)))
        uniform = np.empty((2, BLOCK, parts, len(characters)))
        for column, one in enumerate(characters):
            generator = np.random.default_rng([seed, block, 1, one.key])
            normal[:, :, column] = generator.standard_normal((BLOCK, parts + 2))
            uniform[:, :, :, column] = generator.random((2, BLOCK, parts))
        return cls(
            factor=common.standard_normal((BLOCK, parts)),
            market_volatility=common.standard_normal(BLOCK),
            regime=common.random(BLOCK),
            own=normal[:, :parts],
            own_volatility=normal[:, parts],
            volume=normal[:, parts + 1],
            log_uniform=np.log1p(-uniform),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volatility:
    """Its walk over one block, and where it stands afterwards."""

    log_excess: Floats  # (BLOCK, n) R + M + V
    own: Floats  # (n,) V at the end
    market: float  # M at the end
    regime_level: float  # R at the end
    regime: int  # at the end

    @classmethod
    def walk(cls, before: State, draws: Draws) -> Volatility:
        regime, level = before.regime, before.regime_level
        market, own = before.market_volatility, before.own_volatility
        log_excess = np.empty_like(draws.own_volatility)
        for t in range(BLOCK):
            if draws.regime[t] >= STAY:  # another regime, each of the two others as likely
                step = 1 if draws.regime[t] < (1 + STAY) / 2 else 2
                regime = (regime + step) % len(REGIMES)
            level = REGIME_MEMORY * level + (1 - REGIME_MEMORY) * float(REGIMES[regime])
            market = MARKET_MEMORY * market + MARKET_SHOCK * float(draws.market_volatility[t])
            own = OWN_MEMORY * own + OWN_SHOCK * draws.own_volatility[t]
            log_excess[t] = level + market + own
        return cls(log_excess=log_excess, own=own, market=market, regime_level=level, regime=regime)
