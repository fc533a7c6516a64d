"""The clocks: the machine's, an exchange's, and the virtual one of a replay."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.market import EPOCH
from domain.ports import Clock
from domain.troubles import Trouble

SET_BACK: Final = timedelta(seconds=5)  # of wall time; less is what time servers correct


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


class ExchangeClock:
    """A simulated exchange's clock, which runs `speed` times as fast as the machine's.

    Between two readings it is carried on by the machine's monotonic clock; while the
    exchange holds it, it stands. `sleep` takes market time.
    """

    def __init__(self, now: datetime, *, speed: float) -> None:
        self.speed = speed
        self.held = False
        self.set(now)

    def set(self, now: datetime, *, held: bool = False) -> None:
        """Take a reading of the exchange's clock."""
        self._base, self._read_at, self.held = now, time.monotonic(), held

    def now(self) -> datetime:
        if self.held:
            return self._base
        return self._base + timedelta(seconds=(time.monotonic() - self._read_at) * self.speed)

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds() / self.speed)


class VirtualClock:
    """A clock that stands where it is put: replay moves it from one close time to the next."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        self._now = now

    async def sleep(self, duration: timedelta) -> None:
        self._now += duration
        await asyncio.sleep(0)


class ClockWatch:
    """Notices that a clock was set back, until it is where it was.

    Args:
        clock: that is watched.
        wall: the machine's.
        speed: seconds of `clock` in one of the wall.
    """

    def __init__(self, clock: Clock, *, wall: Clock, speed: float) -> None:
        self._clock = clock
        self._wall = wall
        self._least = SET_BACK * speed
        self._furthest = EPOCH
        self._since: datetime | None = None

    def look(self) -> None:
        """Read the clock; to be called again and again."""
        now = self._clock.now()
        self._furthest = max(now, self._furthest)
        if self._furthest - now < self._least:
            self._since = None
        elif self._since is None:
            self._since = self._wall.now()

    def troubles(self) -> list[Trouble]:
        """That it is behind itself, and by how much."""
        if self._since is None:
            return []
        behind = self._furthest - self._clock.now()
        reason = (
            f"it was set back and is {behind.total_seconds():.0f} s behind what it was;"
            " what is published meanwhile bears the time of before"
        )
        return [Trouble(about="clock", since=self._since, reason=reason)]
