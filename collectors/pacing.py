"""How long to wait before the next try, and the clocks by which that is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import numpy as np

from domain.ports import Clock

FIRST_BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(seconds=60)
LONGEST_PAUSE = timedelta(hours=6)  # however long a Retry-After asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Time and chance: the clock that candles close by, and the one that people wait by.

    They are the same clock, and `speed` is 1, unless the exchange is simulated.
    """

    clock: Clock
    wall: Clock  # of deadlines and backoff
    random: np.random.Generator
    speed: float = 1.0  # seconds of `clock` in a second of `wall`


class Backoff:
    """The first retry at once, then full jitter: uniform up to 1 s, 2 s, 4 s … 60 s.

    Source: «Exponential Backoff And Jitter», AWS Architecture Blog, 2015.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._attempts = 0

    def next(self) -> timedelta:
        """The wait before the next try."""
        self._attempts += 1
        if self._attempts == 1:
            return timedelta(0)
        doublings = min(self._attempts - 2, 16)
        longest: timedelta = min(FIRST_BACKOFF * 2**doublings, LONGEST_BACKOFF)
        return self._random.random() * longest

    def reset(self) -> None:
        """Something worked."""
        self._attempts = 0


def retry_after(value: str, now: datetime) -> timedelta | None:
    """The pause that a header Retry-After asks for (RFC 9110, 10.2.3): seconds, or until a date.

    None where it cannot be read.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), LONGEST_PAUSE)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a year or an offset without measure
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta(0)), LONGEST_PAUSE)
