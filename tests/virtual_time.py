"""An event loop whose time passes only when nothing is left to do: a day in a minute."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tests.doubles import START


class _NoWait(selectors.DefaultSelector):
    """Waits for nothing, and says how long it should have waited."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "all wait for each other"
            self.waited += max(timeout, 0.0)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumps = _NoWait()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.waited


class LoopClock:
    """The running loop's time, from `START` on; `wrong_by` makes it a clock that is not right."""

    def __init__(self) -> None:
        self.wrong_by = timedelta(0)

    def now(self) -> datetime:
        passed = timedelta(seconds=asyncio.get_running_loop().time())
        return START + passed + self.wrong_by

    def set_right(self) -> None:
        self.wrong_by = timedelta(0)

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """`work` on virtual time, from 0 s on."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(work)
