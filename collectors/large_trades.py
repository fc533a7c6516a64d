"""Who is in a hurry where much is traded at once: the signed share of large trades."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from collectors.gaps import floor_ms
from domain.market import Timeframe
from domain.trades import Side, Trade

LEVEL: Final = 0.99  # of the sizes before; a larger trade is large
SIZES: Final = 10_000  # newest trades whose sizes are compared with
LEAST: Final = 1_000  # of them, before any trade is called large
SPAN_MS: Final = Timeframe.H1.ms
_BIN: Final = Timeframe.M1
_SIGN: Final = {Side.BUY: 1.0, Side.SELL: -1.0, None: math.nan}


@dataclass(slots=True)
class _Minute:
    large_above: float  # quote currency; NaN: not known yet
    signed: float = 0.0  # notional bought less sold in large trades; NaN: not known
    total: float = 0.0


class LargeTrades:
    """One instrument's trades of the newest hour, by minute.

    What counts as large in a minute is decided by the trades before it, so that no trade judges
    itself. Nothing is known of a minute before there were `LEAST` trades, or in which a large
    trade tells no side.
    """

    def __init__(self) -> None:
        self._sizes: deque[float] = deque(maxlen=SIZES)
        self._minutes: dict[int, _Minute] = {}

    def add(self, trade: Trade) -> None:
        """Take a trade that was not taken yet."""
        open_ms = floor_ms(trade.time_ms, _BIN)
        minute = self._minutes.get(open_ms)
        if minute is None:
            minute = self._minutes[open_ms] = _Minute(self._threshold())
        size = trade.notional
        minute.total += size
        if math.isnan(minute.large_above):
            minute.signed = math.nan
        elif size > minute.large_above:
            minute.signed += size * _SIGN[trade.side]
        self._sizes.append(size)

    def share(self, end_ms: int) -> float:
        """Of the hour before `end_ms`: (large bought − large sold) / all, notional, −1 … 1.

        NaN where nobody traded, or where it is not known. Older minutes are forgotten.
        """
        first_ms = end_ms - SPAN_MS
        self._minutes = {ms: one for ms, one in self._minutes.items() if ms >= first_ms}
        within = [one for ms, one in self._minutes.items() if ms < end_ms]
        total = math.fsum(one.total for one in within)
        return math.fsum(one.signed for one in within) / total if total else math.nan

    def restart(self) -> None:
        """Trades were missed: only the sizes that were seen still say something."""
        self._minutes.clear()

    def _threshold(self) -> float:
        if len(self._sizes) < LEAST:
            return math.nan
        return float(np.quantile(np.fromiter(self._sizes, np.float64), LEVEL))
