"""When a start is over: all is predicted, or as much of it as can be in time."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from backend.api.status import Status
from domain.errors import AlphaPulseError

WITHIN: Final = timedelta(seconds=180)


class NotReadyError(AlphaPulseError):
    """The first predictions did not come in time."""


class Start:
    """A start that is looked at from time to time.

    After `WITHIN` it is over when all of one exchange is predicted; the others are late. While
    nothing is, it goes on as long as history comes.

    Args:
        status: of the system.
        now: seconds of a clock that is never set.
    """

    def __init__(self, status: Status, now: float) -> None:
        self._status = status
        self._end = now + WITHIN.total_seconds()  # of waiting for all
        self._limit = self._end  # of waiting at all
        self._loaded: dict[str, int] = {}

    def late(self, now: float) -> set[str] | None:
        """The exchanges that are late; None while the start is not over.

        Raises:
            NotReadyError: nothing is predicted, and nothing comes any more.
        """
        status = self._status
        if status.ready:
            return set()
        loaded = {name: one.done for name, one in status.progress.items()}
        if loaded != self._loaded:
            self._loaded, self._limit = loaded, now + WITHIN.total_seconds()
        if now < self._end:
            return None
        missing = [one for one in status.watched if one not in status.newest]
        late = {one.exchange for one, _ in missing}
        if late < {one.exchange for one in status.instruments}:
            return late
        if now < self._limit:
            return None
        named = ", ".join(str(one) for one, _ in missing[:5])
        raise NotReadyError(
            f"no prediction within {WITHIN.total_seconds():.0f} s of {named or 'anything'}"
        )
