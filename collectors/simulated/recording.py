"""Recorded candles as a market that can be played."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collectors.recorded_files import Recording
from collectors.simulated.tape import FIELDS
from domain.errors import UsageError
from domain.events import Floats, Ints
from domain.market import Timeframe

MOST_DECIMALS = 8


class RecordedMarket:
    """Recordings of one timeframe on one grid; missing candles stay missing.

    What a forming candle looked like is not recorded: it is told as open, then low (or, when the
    candle fell, high), then the other extreme, then close.

    Args:
        recordings: At least one, all of one timeframe.
        until_ms: Candles that close later are left out.

    Raises:
        UsageError: One of them is of perpetual futures, or none closes by `until_ms`.
    """

    parts = 3
    finer: bool = False

    def __init__(self, recordings: Sequence[Recording], *, until_ms: int | None = None) -> None:
        _refuse_perpetuals(recordings)
        self.symbols = tuple(one.instrument.symbol for one in recordings)
        self.timeframe: Timeframe = recordings[0].timeframe
        size = self.timeframe.ms
        self.start_ms = min(int(one.open_ms[0]) for one in recordings)
        last_close = max(int(one.open_ms[-1]) for one in recordings) + size
        self.end_ms: int | None = last_close if until_ms is None else min(last_close, until_ms)
        count = (self.end_ms - self.start_ms) // size
        if count <= 0:
            raise UsageError("no recorded candle closes by then")
        self._candles = np.full((count, len(recordings), FIELDS), np.nan)
        for column, one in enumerate(recordings):
            index = (one.open_ms - self.start_ms) // size
            self._candles[index[index < count], column] = one.values[index < count]
        self.decimals: Ints = np.array([_decimals(one) for one in recordings], dtype=np.int64)

    def candles(self, first: int, last: int, column: int | None = None) -> Floats:
        """Candles first <= index < last: (n, instruments, 5), or (n, 5) of one column."""
        rows = self._candles[first : max(first, last)]
        return rows if column is None else rows[:, column]

    def steps(self, index: int) -> Floats:
        """The three legs of candle `index`: (3, instruments, 5)."""
        open_, high, low, close, volume = self._candles[index].T
        rose = close >= open_
        first, second = np.where(rose, low, high), np.where(rose, high, low)
        turns = np.stack([open_, first, second, close])
        legs = np.empty((self.parts, len(self.symbols), FIELDS))
        legs[..., 0], legs[..., 3] = turns[:-1], turns[1:]
        legs[..., 1] = np.maximum(turns[:-1], turns[1:])
        legs[..., 2] = np.minimum(turns[:-1], turns[1:])
        legs[..., 4] = volume / self.parts
        return legs

    def ready_ms(self, candles: int) -> int:
        """When every instrument has `candles` behind it, or four fifths of what it has at most."""
        moments = []
        for column in range(len(self.symbols)):
            present = np.flatnonzero(~np.isnan(self._candles[:, column, 3]))
            if len(present):
                moments.append(present[min(candles, len(present) * 4 // 5)])
        return self.start_ms + int(max(moments, default=0)) * self.timeframe.ms


def _refuse_perpetuals(recordings: Sequence[Recording]) -> None:
    for one in recordings:
        if one.instrument.kind != "spot":
            message = f"{one.instrument} is a perpetual future; the simulated exchange plays spot"
            raise UsageError(message)


def _decimals(recording: Recording) -> int:
    """Decimals that the recorded prices have, 8 at most."""
    prices = recording.values[:, :4]
    for decimals in range(MOST_DECIMALS):
        if np.array_equal(np.round(prices, decimals), prices):
            return decimals
    return MOST_DECIMALS
