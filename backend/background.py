"""Work beside the ticks: what nobody foresaw in it ends no tick, is told, and is tried again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from backend.clock import SystemClock
from domain.errors import LeaseLostError
from domain.troubles import Trouble

log = logging.getLogger(__name__)

_failing: Final[dict[str, Trouble]] = {}


@contextmanager
def going_on(work: str, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """One round of `work`, whatever happens in it; while rounds fail it is among the `troubles`.

    The traceback is logged once for failures of one kind in a row. The caller pauses before the
    next round.

    Args:
        work: whose round it is, as people are told.
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
        before = _failing.get(work)
        reason = f"{work} failed ({type(error).__name__}); it is tried again, the log has more"
        if before is None or before.reason != reason:
            log.exception("%s failed; it is tried again", work)
        since = SystemClock().now() if before is None else before.since
        _failing[work] = Trouble(about="background", since=since, reason=reason)
    else:
        if _failing.pop(work, None) is not None:
            log.info("%s does well again", work)


def troubles() -> list[Trouble]:
    """What fails in this process now, the longest first."""
    return sorted(_failing.values(), key=lambda one: one.since)
