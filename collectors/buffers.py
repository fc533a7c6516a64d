"""Between a socket's callback and the one who reads what it tells, without loss and bounded."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from domain.errors import ExchangeUnavailableError
from domain.events import Candle
from domain.market import Instrument, Timeframe
from domain.trades import Trade

# A reader so far behind starts again from REST.
MOST_CANDLES = 20_000
MOST_TRADES = 100_000

T = TypeVar("T")
Version = tuple[Instrument, Timeframe, int, int]


class Buffer(ABC, Generic[T]):
    """A queue for one reader; who puts never waits, and ends it for a reason."""

    _waiting: OrderedDict[Version, T] | deque[T]

    def __init__(self) -> None:
        self._some = asyncio.Event()
        self._end: BaseException | None = None

    @abstractmethod
    def put(self, one: T, /) -> None:
        """Take one; never waits."""

    @abstractmethod
    def _pop(self) -> T:
        """The oldest, taken out."""

    def end(self, reason: BaseException) -> None:
        """No more will come; `wait` raises `reason` once all is taken."""
        self._end = self._end or reason
        self._some.set()

    def take(self) -> Iterator[T]:
        """What is there, oldest first."""
        while self._waiting:
            yield self._pop()
        self._some.clear()

    async def wait(self) -> None:
        """Until something is there.

        Raises:
            The reason that was given to `end`.
        """
        if self._end is not None and not self._waiting:
            raise self._end
        await self._some.wait()

    @asynccontextmanager
    async def filled_by(
        self, work: Iterable[Coroutine[Any, Any, None]], *, ended: str
    ) -> AsyncIterator[None]:
        """Run what puts; the first that ends is the reason for the end.

        Args:
            work: what to run.
            ended: the reason where it ends without an error.
        """

        def end(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            self.end(error or ExchangeUnavailableError(ended))

        tasks = [asyncio.create_task(one) for one in work]
        for task in tasks:
            task.add_done_callback(end)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class CandleBuffer(Buffer[Candle]):
    """A queue in which a newer forming version takes the place of the older one.

    Closed versions are all kept. Beyond `MOST_CANDLES` the stream ends with an error, so that
    its reader fills the rest from REST.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: OrderedDict[Version, Candle] = OrderedDict()
        self._number = 0  # makes the keys of closed versions differ

    def put(self, candle: Candle) -> None:
        """Take a version; never waits."""
        number = 0
        if candle.closed:
            self._number += 1
            number = self._number
        self._waiting[candle.instrument, candle.timeframe, candle.open_ms, number] = candle
        if len(self._waiting) > MOST_CANDLES:
            self.end(ExchangeUnavailableError("candles come faster than they are read"))
        self._some.set()

    def _pop(self) -> Candle:
        return self._waiting.popitem(last=False)[1]


class TradeBuffer(Buffer[Trade]):
    """A queue of all trades. Beyond `MOST_TRADES` the stream ends with an error."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Trade] = deque()

    def put(self, trade: Trade) -> None:
        """Take one; never waits."""
        if len(self._waiting) >= MOST_TRADES:
            self.end(ExchangeUnavailableError("trades come faster than they are read"))
            return
        self._waiting.append(trade)
        self._some.set()

    def _pop(self) -> Trade:
        return self._waiting.popleft()
