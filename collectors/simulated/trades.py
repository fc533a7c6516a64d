"""The trades behind a market's candles: those of an interval make its candle exactly.

Each step of a candle is four trades: at its open, its two extremes in the order in which a
candle goes against its close first, and its close. The side is that of the price's move. A
candle without volume has no trades. Faults of candles (holes, wrong versions) leave trades alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from decimal import ROUND_DOWN, Decimal
from functools import lru_cache
from itertools import dropwhile, islice, takewhile
from typing import NamedTuple

import numpy as np

from collectors.simulated.tape import Market
from domain.events import Ints

PER_STEP = 4
_UNIT = Decimal("1e-8")  # of amounts


class MadeTrade(NamedTuple):
    """One trade; numbers of an instrument's trades have no gap."""

    number: int
    time_ms: int
    price: float
    amount: Decimal
    sold: bool  # the seller took what the buyer had offered


class Trades:
    """Trades of any span of a market's time, made when they are asked for."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._per_candle = market.parts * PER_STEP
        self._before: list[Ints] | None = None  # by column: candles with trades before each
        if market.end_ms is not None:
            count = (market.end_ms - market.start_ms) // market.timeframe.ms
            volumes = np.nan_to_num(market.candles(0, count)[..., 4])
            exist = np.cumsum(volumes > 0, axis=0, dtype=np.int64)
            self._before = list(np.concatenate([exist[:1] * 0, exist]).T)
        self.of_candle = lru_cache(maxsize=len(market.symbols) + 16)(self._make)

    def between(self, column: int, first_ms: int, end_ms: int) -> Iterator[MadeTrade]:
        """Those with first <= time < end, oldest first."""
        trades = self._of(column, range(self._index(first_ms), self._index(end_ms) + 1))
        rest = dropwhile(lambda trade: trade.time_ms < first_ms, trades)
        return takewhile(lambda trade: trade.time_ms < end_ms, rest)

    def newest(self, column: int, end_ms: int, count: int) -> list[MadeTrade]:
        """The last `count` before `end_ms`, oldest first."""
        found: list[MadeTrade] = []
        for index in range(self._index(end_ms), -1, -1):
            made = [one for one in self.of_candle(column, index) if one.time_ms < end_ms]
            found = made + found
            if len(found) >= count:
                break
        return found[-count:]

    def since(self, column: int, number: int, end_ms: int) -> Iterator[MadeTrade]:
        """Those from `number` on, before `end_ms`."""
        index = max(number, 0) // self._per_candle
        if self._before is not None:
            index = max(bisect_right(self._before[column].tolist(), index) - 1, 0)
        trades = self._of(column, range(index, self._index(end_ms) + 1))
        rest = dropwhile(lambda trade: trade.number < number, trades)
        return takewhile(lambda trade: trade.time_ms < end_ms, rest)

    def _of(self, column: int, indexes: Iterable[int]) -> Iterator[MadeTrade]:
        return (trade for index in indexes for trade in self.of_candle(column, index))

    def _index(self, moment_ms: int) -> int:
        """Of the candle at `moment_ms`, within what the market has."""
        market = self._market
        latest = moment_ms if market.end_ms is None else min(moment_ms, market.end_ms - 1)
        return max((latest - market.start_ms) // market.timeframe.ms, 0)

    def _make(self, column: int, index: int) -> list[MadeTrade]:
        market = self._market
        volume = float(market.candles(index, index + 1, column)[0, 4])
        if not volume > 0:
            return []
        rank = index if self._before is None else int(self._before[column][index])
        steps = market.steps(index)[:, column].tolist()
        step_ms = market.timeframe.ms / market.parts
        start_ms = market.start_ms + index * market.timeframe.ms
        rest = Decimal(repr(volume))
        trades: list[MadeTrade] = []
        for part, step in enumerate(steps):
            amount = rest if part == len(steps) - 1 else _down(Decimal(repr(step[4])))
            rest -= amount
            times = [round(start_ms + step_ms * (part + k / 3)) - (k == PER_STEP - 1) for k in _KS]
            path = _path(step)
            for k, price in enumerate(path):
                came_from = path[k - 1] if k else 2 * price - path[1]
                number = rank * self._per_candle + len(trades)
                trades.append(
                    MadeTrade(number, times[k], price, _share(amount, k), price < came_from)
                )
        return trades


_KS = range(PER_STEP)


def _path(step: list[float]) -> list[float]:
    """Where the price of a step goes."""
    open_, high, low, close, _ = step
    return [open_, low, high, close] if close >= open_ else [open_, high, low, close]


def _share(amount: Decimal, k: int) -> Decimal:
    """A quarter of a step's volume; the last has what rounding left."""
    quarter = _down(amount / PER_STEP)
    return quarter if k < PER_STEP - 1 else amount - (PER_STEP - 1) * quarter


def _down(amount: Decimal) -> Decimal:
    """In whole units, unless that leaves nothing."""
    return amount.quantize(_UNIT, ROUND_DOWN) or amount


def first(trades: Iterable[MadeTrade], count: int) -> list[MadeTrade]:
    """At most `count` of them."""
    return list(islice(trades, count))
