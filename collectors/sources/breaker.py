"""A circuit breaker: who fails again and again is left alone for a while, then tried once."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.ports import Clock

FAILURES: Final = 3  # in a row that open it
FIRST_REST: Final = timedelta(minutes=1)
LONGEST_REST: Final = timedelta(hours=1)


class Circuit(StrEnum):
    """Whether requests pass."""

    CLOSED = "closed"  # they do
    OPEN = "open"  # they do not
    HALF_OPEN = "half_open"  # one may, and decides


class Breaker:
    """Opens after `FAILURES` in a row; rests 1 min, 2 min, 4 min … 1 h, each before one trial.

    A failure that names a time to wait opens it at once, for that long at least.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0  # in a row
        self._trips = 0  # since the last answer
        self._until: datetime | None = None  # while it is not closed

    @property
    def state(self) -> Circuit:
        if self._until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self.left > timedelta(0) else Circuit.HALF_OPEN

    @property
    def left(self) -> timedelta:
        """The wait before a request may pass."""
        if self._until is None:
            return timedelta(0)
        return max(self._until - self._clock.now(), timedelta(0))

    def succeeded(self) -> None:
        """A request was answered."""
        self._failures = self._trips = 0
        self._until = None

    def failed(self, retry_after: timedelta | None = None) -> None:
        """A request was not answered."""
        self._failures += 1
        rest = retry_after or timedelta(0)
        if self._until is not None or self._failures >= FAILURES:
            rest = max(rest, min(FIRST_REST * 2 ** min(self._trips, 16), LONGEST_REST))
            self._trips += 1
        if rest > timedelta(0):
            self._until = self._clock.now() + rest
