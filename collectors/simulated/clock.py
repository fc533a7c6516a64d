"""The simulated exchange's clock: real time scaled by a speed, and held on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class ScaledClock:
    """Simulated milliseconds that run `speed` times as fast as `read` does.

    Args:
        start_ms: Simulated time at the beginning.
        speed: Simulated seconds per second of `read`.
        end_ms: Where the clock stops by itself; None runs on.
        held: Whether it stands still until `release`.
        read: Seconds that only grow.
    """

    def __init__(
        self,
        start_ms: int,
        speed: float,
        *,
        end_ms: int | None = None,
        held: bool = False,
        read: Callable[[], float] = time.monotonic,
    ) -> None:
        self.speed = speed
        self.end_ms = end_ms
        self.held = held
        self._read = read
        self._base_ms = float(start_ms)
        self._base_s = read()
        self._changed = asyncio.Event()

    def now_ms(self) -> int:
        passed = 0.0 if self.held else (self._read() - self._base_s) * self.speed * 1000
        now = int(self._base_ms + passed)
        return now if self.end_ms is None else min(now, self.end_ms)

    @property
    def ended(self) -> bool:
        return self.end_ms is not None and self.now_ms() >= self.end_ms

    def hold(self) -> None:
        self._rebase()
        self.held = True

    def release(self) -> None:
        self._rebase()
        self.held = False

    def _rebase(self) -> None:
        self._base_ms = float(self.now_ms())
        self._base_s = self._read()
        self._changed.set()

    async def sleep_until(self, moment_ms: int) -> None:
        """Return at or after `moment_ms`; never, when the clock ends before it."""
        while (now := self.now_ms()) < moment_ms:
            self._changed.clear()
            waits = self.held or (self.end_ms is not None and moment_ms > self.end_ms)
            delay = None if waits else (moment_ms - now) / 1000 / self.speed
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue
