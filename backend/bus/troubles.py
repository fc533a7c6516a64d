"""What keeps this process's road between rooms from carrying ticks now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from domain.troubles import Trouble

STUCK: Final = timedelta(seconds=10)  # of wall time that something waits and nothing is taken

Tell = Callable[[], Sequence[Trouble]]
_tellers: Final[list[Tell]] = []


def troubles() -> list[Trouble]:
    """Of all that sends and reads in this process, the longest first."""
    return sorted((one for tell in _tellers for one in tell()), key=lambda one: one.since)


@contextmanager
def told_by(tell: Tell) -> Iterator[None]:
    """Have `troubles` ask `tell` too."""
    _tellers.append(tell)
    try:
        yield
    finally:
        _tellers.remove(tell)
