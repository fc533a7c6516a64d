"""Work beside the ticks: what nobody foresaw in it ends no tick, is told, and is tried again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from backend.clock import SystemClock
from domain.errors import LeaseLostError
from domain.troubles import Trouble

log = logging.getLogger(__name__)


class Rounds:
    """Work that somebody does again and again until it is closed; while it fails, a trouble.

    The trouble is of this very object: no round of another ends it, whatever that is called, and
    it ends with whoever does the work.

    Args:
        name: of the work, as people are told: with the exchange, the panel or the source where
            there are several.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nobody does it here any more: what failed of it is told no longer."""
        self._closed = True
        _failing.pop(self, None)

    @contextmanager
    def going_on(self, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """One round, whatever happens in it; while rounds fail it is among the `troubles`.

        The traceback is logged once for failures of one kind in a row. The caller pauses before the
        next round.

        Args:
            but: errors that are the caller's.

        Raises:
            LeaseLostError: the work is another process's now.
            Others: of `but`.
        """
        callers: tuple[type[Exception], ...] = (LeaseLostError, *but)
        try:
            yield
        except callers:
            raise
        except Exception as error:
            before = _failing.get(self)
            reason = (
                f"{self._name} failed ({type(error).__name__}); it is tried again, the log has more"
            )
            if before is None or before.reason != reason:
                log.exception("%s failed; it is tried again", self._name)
            if not self._closed:
                since = SystemClock().now() if before is None else before.since
                _failing[self] = Trouble(about="background", since=since, reason=reason)
        else:
            if _failing.pop(self, None) is not None:
                log.info("%s does well again", self._name)


_failing: Final[dict[Rounds, Trouble]] = {}


def troubles() -> list[Trouble]:
    """What fails in this process now, the longest first."""
    return sorted(_failing.values(), key=lambda one: one.since)
