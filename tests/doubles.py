"""Stand-ins that obey the same ports as the real thing, under the test's control."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from backend.clock import SystemClock
from domain.errors import UndeliveredError
from domain.notifications import Notification

START = datetime(2024, 1, 1, tzinfo=UTC)


class ManualClock:
    """A clock that stands still until a test advances it."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    @property
    def sleepers(self) -> int:
        """How many tasks wait for the clock to move."""
        return len(self._sleepers)

    def now(self) -> datetime:
        return self._now

    def advance(self, duration: timedelta) -> None:
        """Move on and wake, in order, every sleeper whose time has come."""
        self._now += duration
        due = sorted((s for s in self._sleepers if s[0] <= self._now), key=lambda s: s[0])
        self._sleepers = [s for s in self._sleepers if s[0] > self._now]
        for _, sleeper in due:
            if not sleeper.done():
                sleeper.set_result(None)

    async def sleep(self, duration: timedelta) -> None:
        """Wait until the clock has been advanced by `duration`."""
        if duration <= timedelta(0):
            await asyncio.sleep(0)
            return
        sleeper = (self._now + duration, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)


class Impatient(SystemClock):
    """The machine's clock; whoever waits by it comes again soon."""

    async def sleep(self, duration: timedelta) -> None:
        await super().sleep(duration / 50)


class RecordingChannel:
    """A channel that keeps what it is sent.

    Its `answers` are given one after another, then it takes everything: a status as of HTTP, an
    error to raise, or an event until which it hangs.

    Args:
        at_most_s: wall seconds of a try.
    """

    def __init__(self, *, at_most_s: float = 30.0) -> None:
        self.got: list[Notification] = []
        self.answers: list[int | UndeliveredError | asyncio.Event] = []
        self._at_most_s = at_most_s

    async def send(self, notification: Notification) -> None:
        self.got.append(notification)
        answer = self.answers.pop(0) if self.answers else 204
        match answer:
            case UndeliveredError():
                raise answer
            case asyncio.Event():
                try:
                    await asyncio.wait_for(answer.wait(), self._at_most_s)
                except TimeoutError:
                    raise UndeliveredError("no answer") from None
            case status if status >= 300:
                raise UndeliveredError(f"HTTP {status}")

    async def close(self) -> None:
        pass
