"""What collectors need to know of the candles that are stored already."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.events import Candle
from domain.market import Instrument, Timeframe


class StoredCandles(Protocol):
    """Reads of stored candles, the newest revision of each."""

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> Sequence[int]:
        """Open times in ms with since ≤ open time < until, in any order."""
        ...

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> Sequence[Candle]:
        """The last `count` candles, in any order."""
        ...
