"""The clocks: the machine's, an exchange's, and the virtual one of a replay."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


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
