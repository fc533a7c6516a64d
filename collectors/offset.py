"""How far the clock of an exchange is ahead of ours, at least."""

from __future__ import annotations

import logging
from collections import deque
from datetime import timedelta
from statistics import median_low

from collectors.budget import Budget
from collectors.pacing import Pace
from domain.errors import ExchangeError, RateLimitedError
from domain.market import from_ms, to_ms
from domain.ports import Exchange

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=30)  # of wall time
NEWEST = 3  # measurements of which the middle one counts: one that is wrong moves nothing
APART_MS = 86_400_000  # of wall time; what tells a time further from our clock is not believed
LARGE_MS = 500  # of wall time; said, since candles that close by time depend on it


class Offset:
    """Measured as the exchange's time less ours when its answer was here.

    It told its time before that, so it is ahead by so much or more, however long the request
    was on its way: what has closed by this measure has closed there.

    Args:
        exchange: Whose.
        pace: The clock that is compared, and the one of waits.
        budget: Whose pauses hold for this request too.
    """

    def __init__(self, exchange: Exchange, pace: Pace, budget: Budget) -> None:
        self._exchange = exchange
        self._pace = pace
        self._budget = budget
        self._measured: deque[int] = deque(maxlen=NEWEST)
        self._large = False
        self.ms = 0

    async def begin(self) -> None:
        """Measure anew; while the exchange does not tell its time, what was known holds."""
        self._measured.clear()
        await self._measure()

    async def keep(self) -> None:
        """Measure again and again."""
        while True:
            await self._pace.wall.sleep(EVERY)
            await self._budget.resumed()
            await self._measure()

    async def _measure(self) -> None:
        try:
            theirs = to_ms(await self._exchange.fetch_time())
        except RateLimitedError as error:
            self._budget.pause(error.retry_after)
            return
        except ExchangeError as error:
            log.warning("the time of %s is not known: %s", self._exchange.id, error)
            return
        apart_ms = theirs - to_ms(self._pace.clock.now())
        if abs(apart_ms) > APART_MS * self._pace.speed:  # all up to it would count as missing
            said = from_ms(theirs).date().isoformat()
            log.warning("the time of %s is not believed: %s", self._exchange.id, said)
            return
        self._measured.append(apart_ms)
        self.ms = median_low(self._measured)
        self._warn()

    def _warn(self) -> None:
        """Once each time that the clocks come apart."""
        large = abs(self.ms) > LARGE_MS * self._pace.speed
        if large and not self._large:
            side = "ahead of" if self.ms > 0 else "behind"
            log.warning("the clock of %s is %d ms %s ours", self._exchange.id, abs(self.ms), side)
        self._large = large
