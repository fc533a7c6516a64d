"""Trades between a socket's callback and the one who reads them, without loss and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from domain.errors import ExchangeUnavailableError
from domain.trades import Trade

CAPACITY = 100_000  # trades; a reader so far behind starts again from REST


class TradeBuffer:
    """A queue of all trades. Beyond `capacity` the stream ends with an error."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._waiting: deque[Trade] = deque()
        self._some = asyncio.Event()
        self._end: BaseException | None = None

    def put(self, trade: Trade) -> None:
        """Take one; never waits."""
        if len(self._waiting) >= self._capacity:
            self.end(ExchangeUnavailableError("trades come faster than they are read"))
            return
        self._waiting.append(trade)
        self._some.set()

    def end(self, reason: BaseException) -> None:
        """No more will come; `wait` raises `reason` once all is taken."""
        self._end = self._end or reason
        self._some.set()

    def take(self) -> Iterator[Trade]:
        """What is there, oldest first."""
        while self._waiting:
            yield self._waiting.popleft()
        self._some.clear()

    async def wait(self) -> None:
        """Until something is there.

        Raises:
            The reason that was given to `end`.
        """
        if self._end is not None and not self._waiting:
            raise self._end
        await self._some.wait()
