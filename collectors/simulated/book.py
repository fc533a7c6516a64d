"""What the simulated exchange answers about candles: the tape, less holes, with wrong versions."""

from __future__ import annotations

import numpy as np

from collectors.simulated.clock import ScaledClock
from collectors.simulated.dialect import market_id
from collectors.simulated.faults import Faults
from collectors.simulated.tape import Tape
from collectors.simulated.trades import Trades
from domain.events import Floats, Ints
from domain.market import Timeframe

Key = tuple[int, Timeframe, int]  # column, timeframe, open time


class Book:
    """Candles as REST shows them at the present moment of the exchange's clock."""

    def __init__(self, tape: Tape, clock: ScaledClock, faults: Faults) -> None:
        self.tape = tape
        self.trades = Trades(tape.market)
        self.clock = clock
        self.faults = faults
        self.symbols = tape.market.symbols
        self.ids = tuple(market_id(symbol) for symbol in self.symbols)
        self.columns = {symbol_id: column for column, symbol_id in enumerate(self.ids)}
        self.missing: set[Key] = set()
        self.wrong: dict[Key, list[float]] = {}
        self.unpublished_ms: int | None = None  # first close that the socket has yet to tell

    def now_ms(self) -> int:
        """The clock, but never ahead of what the socket was told."""
        now = self.clock.now_ms()
        return now if self.unpublished_ms is None else min(now, self.unpublished_ms - 1)

    def told_ms(self) -> int:
        """The time that the exchange claims."""
        return self.clock.now_ms() + self.faults.skew_ms()

    def klines(
        self, column: int, timeframe: Timeframe, *, first_ms: int | None, last_ms: int, limit: int
    ) -> tuple[Ints, Floats]:
        """Candles with first <= open time <= last; the last one may still be forming.

        At most `limit` of them: the oldest, or without a first the newest.
        """
        size, now = timeframe.ms, self.now_ms()
        earliest = self.tape.market.start_ms - self.tape.market.start_ms % size
        lowest = earliest if first_ms is None else max(first_ms, earliest)
        newest = min(last_ms - last_ms % size, now - now % size)
        span = limit * size  # doubled while candles that do not exist make it too short
        while True:
            low = lowest if first_ms is not None else max(lowest, newest - span)
            high = newest if first_ms is None else min(newest, lowest + span)
            opens, rows = self._between(column, timeframe, low, high)
            if len(opens) >= limit or (low <= lowest and high >= newest):
                break
            span *= 2
        cut = slice(0, limit) if first_ms is not None else slice(-limit, None)
        return opens[cut], rows[cut]

    def _between(
        self, column: int, timeframe: Timeframe, low: int, high: int
    ) -> tuple[Ints, Floats]:
        """Candles with low <= open time <= high."""
        now = self.now_ms()
        current = now - now % timeframe.ms  # open time of the forming candle
        opens, rows = self.tape.history(column, timeframe, low, min(high + timeframe.ms, current))
        if low <= current <= high:
            opens, rows = self._with_forming(column, timeframe, opens, rows)
        return self._as_told(column, timeframe, opens, rows)

    def _with_forming(
        self, column: int, timeframe: Timeframe, opens: Ints, rows: Floats
    ) -> tuple[Ints, Floats]:
        now = self.now_ms()
        current = now - now % timeframe.ms
        row = self.tape.panel(timeframe, current, now)[column]
        if np.isnan(row[3]) or self.faults.silent(self.ids[column], timeframe):
            return opens, rows
        return np.append(opens, np.int64(current)), np.concatenate([rows, row[None]])

    def _as_told(
        self, column: int, timeframe: Timeframe, opens: Ints, rows: Floats
    ) -> tuple[Ints, Floats]:
        if not self.missing and not self.wrong:
            return opens, rows
        rows = rows.copy()
        keep = np.ones(len(opens), dtype=np.bool_)
        for index, open_ms in enumerate(opens.tolist()):
            key = (column, timeframe, open_ms)
            keep[index] = key not in self.missing
            rows[index] = self.wrong.get(key, rows[index])
        return opens[keep], rows[keep]
