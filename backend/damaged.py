"""What is met in the database that is not as it was written: it is told, and ends no work."""

from __future__ import annotations

import logging
from typing import Final

from backend.clock import SystemClock
from domain.troubles import Trouble

log = logging.getLogger(__name__)

MOST: Final = 20  # that are remembered at a time; the log has all

_met: Final[dict[str, Trouble]] = {}


def meet(what: str, fault: str) -> None:
    """Have `what` among the `troubles`, with the first fault that it was met with.

    Args:
        what: a row, a stream, an event; while it is remembered it is in the log once.
        fault: what is wrong with it, and what becomes of it, in one line.
    """
    if what in _met:
        return
    log.warning("%s: %s", what, fault)
    if len(_met) < MOST:
        reason = f"{what}: {fault}"
        _met[what] = Trouble(about="record", since=SystemClock().now(), reason=reason)


def mended(*what: str) -> None:
    """They were read, and are whole."""
    for one in what:
        if _met.pop(one, None) is not None:
            log.info("%s is whole again", one)


def anything() -> bool:
    """Whether anything is remembered, for who asks at each row."""
    return bool(_met)


def troubles() -> list[Trouble]:
    """What this process met and has not read whole since, the longest first."""
    return sorted(_met.values(), key=lambda one: one.since)
