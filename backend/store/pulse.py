"""How the database does, by a small write that is made again and again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from backend.store.database import CONNECTION_ERRORS, waits, why_away
from domain.ports import Clock
from domain.troubles import Trouble

log = logging.getLogger(__name__)

SLOW: Final = timedelta(seconds=3)  # of wall time, for one row
MOST_REASONS: Final = 3


def waited_for() -> list[Trouble]:
    """The database, while something in this process tries again: since when, and what it says."""
    found = waits()
    if not found:
        return []
    reasons = [*dict.fromkeys(one.reason for one in found)]
    return [_trouble(found[0].since, "; ".join(reasons[:MOST_REASONS]))]


class Pulse:
    """One for a process that writes.

    Args:
        wall: the machine's clock.
    """

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._began: datetime | None = None  # the write under way
        self._since: datetime | None = None  # the first of those in a row that were not well
        self._reason = ""

    async def beat(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write once; a failure is remembered and told in the log, not raised."""
        began = self._began = self._wall.now()
        try:
            await write()
        except CONNECTION_ERRORS as error:
            self._ill(began, why_away(error))
        else:
            took = self._wall.now() - began
            if took >= SLOW:
                self._ill(began, _slow(took))
            else:
                self._since, self._reason = None, ""
        finally:
            self._began = None

    def _ill(self, began: datetime, reason: str) -> None:
        if self._since is None:
            log.warning("the database takes no writes, or slowly", extra={"reason": reason})
        self._since, self._reason = self._since or began, reason

    def troubles(self) -> list[Trouble]:
        """What is wrong with the database now, as whatever waits for it says."""
        if found := waited_for():
            return found
        if self._since is not None:
            return [_trouble(self._since, self._reason)]
        under_way = timedelta(0) if self._began is None else self._wall.now() - self._began
        if self._began is not None and under_way >= SLOW:
            return [_trouble(self._began, _slow(under_way))]
        return []


def _trouble(since: datetime, reason: str) -> Trouble:
    return Trouble(about="database", since=since, reason=reason, grave=True)


def _slow(took: timedelta) -> str:
    return f"a row has taken {took.total_seconds():.0f} s to be written"
