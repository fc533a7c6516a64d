"""Trades become candles, as exchanges make them: each trade once, whatever the order.

An exchange adds amounts as decimals; so does this, and rounds once. An interval without a
trade has no candle: nothing is carried over from the one before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from collectors.gaps import Range, floor_ms
from domain.events import Candle, Source
from domain.market import Instrument, Timeframe
from domain.trades import MadeOf, Trade

_Order = tuple[int, int, str]


def order(trade: Trade) -> _Order:
    """The order of an exchange's trades: by time, of one millisecond by number.

    Ids that are no numbers order trades of one millisecond in no meaningful way, but always in
    the same: there open and close may be each other's neighbour.
    """
    number = trade.number
    if number is None and trade.trade_id.isascii() and trade.trade_id.isdigit():
        number = int(trade.trade_id)
    return trade.time_ms, -1 if number is None else number, trade.trade_id


def impossible(trade: Trade) -> str | None:
    """Why `trade` cannot be; None for one that can."""
    if not (math.isfinite(trade.price) and trade.price > 0):
        return "price is not a number above zero"
    if not (math.isfinite(trade.amount) and trade.amount > 0):
        return "amount is not a number above zero"
    return None


class TradedCandle:
    """A candle as its trades come in; one that is told again changes nothing."""

    def __init__(self, instrument: Instrument, timeframe: Timeframe, open_ms: int) -> None:
        self.instrument = instrument
        self.timeframe = timeframe
        self.open_ms = open_ms
        self._ids: set[str] = set()
        self._first: tuple[_Order, float] | None = None
        self._last: tuple[_Order, float] | None = None
        self._low, self._high = math.inf, -math.inf
        self._volume = Decimal(0)

    def add(self, trade: Trade) -> bool:
        """Whether `trade`, which is of this candle's interval, was not known yet."""
        if trade.trade_id in self._ids:
            return False
        self._ids.add(trade.trade_id)
        place = order(trade), trade.price
        self._first = place if self._first is None else min(self._first, place)
        self._last = place if self._last is None else max(self._last, place)
        self._low = min(self._low, trade.price)
        self._high = max(self._high, trade.price)
        self._volume += Decimal(repr(trade.amount))
        return True

    def candle(self, *, closed: bool, confirmed: bool) -> Candle | None:
        """As it stands; None while there is no trade."""
        if self._first is None or self._last is None:
            return None
        return Candle(
            instrument=self.instrument,
            timeframe=self.timeframe,
            open_ms=self.open_ms,
            open=self._first[1],
            high=self._high,
            low=self._low,
            close=self._last[1],
            volume=float(self._volume),
            closed=closed,
            confirmed=confirmed,
            event_ms=self._last[0][0],
            source=Source.BACKFILL if confirmed else Source.LIVE,
            made_of=MadeOf.TRADES,
        )


def candles_of(trades: Iterable[Trade], timeframe: Timeframe) -> list[Candle]:
    """Whole candles of trades in any order, repeated or not, by instrument and open time."""
    found: dict[tuple[Instrument, int], TradedCandle] = {}
    for trade in trades:
        open_ms = floor_ms(trade.time_ms, timeframe)
        key = trade.instrument, open_ms
        if key not in found:
            found[key] = TradedCandle(trade.instrument, timeframe, open_ms)
        found[key].add(trade)
    made = (found[key].candle(closed=True, confirmed=True) for key in sorted(found))
    return [candle for candle in made if candle is not None]


class Numbers(NamedTuple):
    """Trades of one instrument from `first` up to, but not including, `end`."""

    first: int
    end: int


def missing_numbers(trades: Iterable[Trade]) -> list[Numbers]:
    """What lies between one instrument's trades that have a number and is not among them."""
    numbers = sorted({one.number for one in trades if one.number is not None})
    return [Numbers(before + 1, after) for before, after in pairwise(numbers) if after > before + 1]


class Numbering:
    """Follows one instrument's trades and sees what was left out.

    A stream that is whole tells them in order. One that is told again, or that comes late, is
    older than the newest.
    """

    def __init__(self) -> None:
        self._next: int | None = None

    def follow(self, trade: Trade) -> Numbers | None:
        """The trades that are missing before this one, told once."""
        if trade.number is None:
            return None
        expected = trade.number if self._next is None else self._next
        self._next = max(expected, trade.number + 1)
        return Numbers(expected, trade.number) if trade.number > expected else None


def whole_opens(told: Range, timeframe: Timeframe) -> Range:
    """Open times of the candles whose interval lies within what was told.

    >>> whole_opens(Range(30_000, 200_000), Timeframe.M1)
    Range(from_ms=60000, to_ms=180000)
    """
    first = -floor_ms(-told.from_ms, timeframe)
    return Range(first, max(first, floor_ms(told.to_ms, timeframe)))
