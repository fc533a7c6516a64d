"""Candles between a socket's callback and the one who reads them, without loss and bounded."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from domain.errors import ExchangeUnavailableError
from domain.events import Candle
from domain.market import Instrument, Timeframe

CAPACITY = 20_000  # candles; a reader so far behind starts again from REST

Key = tuple[Instrument, Timeframe, int, int]


class CandleBuffer:
    """A queue in which a newer forming version takes the place of the older one.

    Closed versions are all kept. Beyond `CAPACITY` the stream ends with an error, so that
    its reader fills the rest from REST.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._waiting: OrderedDict[Key, Candle] = OrderedDict()
        self._number = 0  # makes the keys of closed versions differ
        self._some = asyncio.Event()
        self._end: BaseException | None = None

    def put(self, candle: Candle) -> None:
        """Take a version; never waits."""
        number = 0
        if candle.closed:
            self._number += 1
            number = self._number
        self._waiting[candle.instrument, candle.timeframe, candle.open_ms, number] = candle
        if len(self._waiting) > self._capacity:
            self.end(ExchangeUnavailableError("candles come faster than they are read"))
        self._some.set()

    def end(self, reason: BaseException) -> None:
        """No more will come; `wait` raises `reason` once all is taken."""
        self._end = self._end or reason
        self._some.set()

    def take(self) -> Iterator[Candle]:
        """What is there, oldest first."""
        while self._waiting:
            yield self._waiting.popitem(last=False)[1]
        self._some.clear()

    async def wait(self) -> None:
        """Until something is there.

        Raises:
            The reason that was given to `end`.
        """
        if self._end is not None and not self._waiting:
            raise self._end
        await self._some.wait()
