"""Candles of any timeframe, whole or still forming, from a market's own candles."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from domain.events import Floats, Ints
from domain.market import Timeframe

FIELDS = 5  # open, high, low, close, volume
SUM_DECIMALS = 8  # of volumes, as Binance tells them; a sum of floats has more


class Market(Protocol):
    """What can be played: candles of one timeframe, and the walk inside each of them.

    NaN rows are candles that do not exist.
    """

    symbols: tuple[str, ...]
    timeframe: Timeframe
    start_ms: int  # open time of candle 0
    end_ms: int | None  # close time of the last candle; None: there is always another
    parts: int  # steps inside a candle
    decimals: Ints  # of prices, (instruments,)

    @property
    def finer(self) -> bool:
        """Whether steps may be served as candles of a shorter timeframe."""
        ...

    def candles(self, first: int, last: int, column: int | None = None) -> Floats:
        """Candles first <= index < last: (n, instruments, 5), or (n, 5) of one column."""
        ...

    def steps(self, index: int) -> Floats:
        """The walk inside candle `index`: (parts, instruments, 5)."""
        ...

    def ready_ms(self, candles: int) -> int:
        """When every instrument has `candles` behind it, or as many as can be asked of it."""
        ...


class Tape:
    """A market read at any moment in any timeframe that it can show."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._step_ms = market.timeframe.ms // market.parts
        self.timeframes = tuple(one for one in Timeframe if self._shows(one))

    def panel(self, timeframe: Timeframe, open_ms: int, until_ms: int) -> Floats:
        """The candle of every instrument that opened at `open_ms`, as it stood at `until_ms`.

        Returns:
            (instruments, 5), NaN where there is no trade yet.
        """
        first_ms, last_ms = self._bounds(open_ms, min(until_ms, open_ms + timeframe.ms))
        unit = self.market.timeframe.ms
        first, whole = -(-first_ms // unit), last_ms // unit
        if first > whole:  # within one candle of the market
            return fold(self._steps_between(first_ms, last_ms))
        rows = [self._steps_between(first_ms, first * unit), self.market.candles(first, whole)]
        return fold(np.concatenate([*rows, self._steps_between(whole * unit, last_ms)]))

    def history(
        self, column: int, timeframe: Timeframe, first_ms: int, last_ms: int
    ) -> tuple[Ints, Floats]:
        """Candles of one instrument that close at or before `last_ms`, from `first_ms` on.

        Args:
            column: Of the instrument.
            timeframe: One of `timeframes`.
            first_ms: The earliest open time.
            last_ms: The latest close time.

        Returns:
            Open times (n,) and rows (n, 5), without those that do not exist.
        """
        size = timeframe.ms
        start, end = self.market.start_ms, self.market.end_ms
        first = -(-max(first_ms, start - start % size) // size)
        last = (last_ms if end is None else min(last_ms, end + size)) // size
        if last <= first:
            return np.empty(0, np.int64), np.empty((0, FIELDS))
        groups = self._grouped(column, timeframe, first * size, last * size)
        rows = fold(groups.swapaxes(0, 1))
        opens = np.arange(first, last, dtype=np.int64) * size
        exists = ~np.isnan(rows[:, 3])
        return opens[exists], rows[exists]

    def _shows(self, timeframe: Timeframe) -> bool:
        if timeframe.ms >= self.market.timeframe.ms:
            return timeframe.ms % self.market.timeframe.ms == 0
        return self.market.finer and timeframe.ms % self._step_ms == 0

    def _bounds(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        """Both relative to the market's first candle, within what it has."""
        start, end = self.market.start_ms, self.market.end_ms
        latest = last_ms if end is None else min(last_ms, end)
        first = max(first_ms, start) - start
        return first, max(first, latest - start)

    def _steps_between(self, first_ms: int, last_ms: int) -> Floats:
        """Whole steps inside one candle of the market."""
        index, offset = divmod(first_ms, self.market.timeframe.ms)
        first, last = offset // self._step_ms, (offset + last_ms - first_ms) // self._step_ms
        if last <= first:
            return np.empty((0, len(self.market.symbols), FIELDS))
        between: Floats = self.market.steps(index)[first:last]
        return between

    def _grouped(self, column: int, timeframe: Timeframe, first_ms: int, last_ms: int) -> Floats:
        """Rows of the market in groups of one candle each: (candles, group, 5)."""
        size, unit = timeframe.ms, self.market.timeframe.ms
        start, end = self.market.start_ms, self.market.end_ms
        first = (first_ms - start) // unit
        last = -(-(last_ms - start) // unit)
        known = last if end is None else min(last, (end - start) // unit)
        rows = self.market.candles(max(first, 0), max(known, 0), column)
        if size >= unit:
            padding = ((max(-first, 0), last - known), (0, 0))
            padded = np.pad(rows, padding, constant_values=np.nan)
            grouped: Floats = padded.reshape(-1, size // unit, FIELDS)
            return grouped
        steps = np.concatenate([self.market.steps(i)[:, column] for i in range(first, known)])
        offset = (first_ms - start - first * unit) // self._step_ms
        group = size // self._step_ms
        wanted = steps[offset : offset + (last_ms - first_ms) // self._step_ms]
        folded: Floats = wanted.reshape(-1, group, FIELDS)
        return folded


def fold(rows: Floats) -> Floats:
    """One candle per series from its consecutive rows, absent (NaN) rows left out.

    Args:
        rows: (rows, series, 5), oldest first.

    Returns:
        (series, 5), NaN where a series has no row.
    """
    folded: Floats = np.full(rows.shape[1:], np.nan)
    if len(rows) == 0:
        return folded
    exists = ~np.isnan(rows[..., 3])
    series = np.arange(rows.shape[1])
    folded[:, 0] = rows[exists.argmax(axis=0), series, 0]
    folded[:, 1] = np.fmax.reduce(rows[..., 1])
    folded[:, 2] = np.fmin.reduce(rows[..., 2])
    folded[:, 3] = rows[len(rows) - 1 - exists[::-1].argmax(axis=0), series, 3]
    volumes = np.where(exists, rows[..., 4], 0.0).sum(axis=0)
    several = exists.sum(axis=0) > 1  # a recorded volume stays as it is
    folded[:, 4] = np.where(several, np.round(volumes, SUM_DECIMALS), volumes)
    folded[~exists.any(axis=0)] = np.nan
    return folded
