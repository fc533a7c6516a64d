"""The requests that one exchange allows: the live edge draws first, then repairs, then backfill."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from enum import IntEnum
from itertools import count

from domain.ports import Clock

_NOTHING = timedelta(0)


class Urgency(IntEnum):
    """Whose turn comes first."""

    LIVE = 0  # candles wait for the answer
    REPAIR = 1  # an old hole, a confirmation
    BACKFILL = 2


_urgency: ContextVar[Urgency] = ContextVar("urgency", default=Urgency.LIVE)


@contextmanager
def drawing(urgency: Urgency) -> Iterator[None]:
    """What is drawn within is so urgent."""
    before = _urgency.set(urgency)
    try:
        yield
    finally:
        _urgency.reset(before)


class Budget:
    """Requests one after another, each as long after the one before as that one cost.

    However many wait, a more urgent request that comes waits for the cost of one of theirs at
    most. A pause that the exchange asks for holds for all.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at = self._resumes_at = clock.now()
        self._waiting: list[tuple[Urgency, int]] = []  # a heap
        self._number = count()
        self._left = asyncio.Event()  # one who waited has gone

    def pause(self, duration: timedelta) -> None:
        """No request before `duration` has passed."""
        self._resumes_at = max(self._resumes_at, self._clock.now() + duration)
        self._free_at = max(self._free_at, self._resumes_at)

    async def resumed(self) -> None:
        """Until no pause is in force."""
        while (left := self._resumes_at - self._clock.now()) > _NOTHING:
            await self._clock.sleep(left)

    async def draw(self, cost: timedelta) -> None:
        """Until a request that takes up `cost` may be sent."""
        place = (_urgency.get(), next(self._number))
        heapq.heappush(self._waiting, place)
        try:
            await self._turn(place)
            self._free_at = max(self._free_at, self._clock.now()) + cost
        finally:
            self._waiting.remove(place)
            heapq.heapify(self._waiting)
            self._left.set()
            self._left = asyncio.Event()

    async def _turn(self, place: tuple[Urgency, int]) -> None:
        while True:
            if self._waiting[0] != place:
                await self._left.wait()
            elif (left := self._free_at - self._clock.now()) > _NOTHING:
                await self._clock.sleep(left)  # a more urgent one may come meanwhile
            else:
                return
