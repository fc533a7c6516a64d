"""Which candles of a series are missing, as ranges of open times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from domain.market import Instrument, Timeframe


class Range(NamedTuple):
    """Open times from `from_ms` up to, but not including, `to_ms`; both on the grid."""

    from_ms: int
    to_ms: int


class Cause(StrEnum):
    """How a gap came to be."""

    START = "start"  # candles closed while nothing was running
    RECONNECT = "reconnect"  # candles closed while the connection was lost
    JUMP = "jump"  # a later candle came first
    SILENCE = "silence"  # its time passed and nothing came
    AUDIT = "audit"  # it was stored once, or passed over, and the store does not have it


class GapState(StrEnum):
    """What became of a gap."""

    FOUND = "found"
    ASKED = "asked"  # the exchange is asked for them
    FILLED = "filled"
    ABSENT = "absent"  # the exchange answered, and does not have them all


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A notice about candles that ought to exist, with open times in [from_ms, to_ms)."""

    instrument: Instrument
    timeframe: Timeframe
    from_ms: int
    to_ms: int
    cause: Cause
    state: GapState


def floor_ms(milliseconds: int, timeframe: Timeframe) -> int:
    """The latest point of the grid that is not after `milliseconds`."""
    return milliseconds - milliseconds % timeframe.ms


def ceil_ms(milliseconds: int, timeframe: Timeframe) -> int:
    """The earliest point of the grid that is not before `milliseconds`."""
    return -floor_ms(-milliseconds, timeframe)


def missing_ranges(
    stored: Iterable[int], timeframe: Timeframe, *, since_ms: int, until_ms: int
) -> list[Range]:
    """The expected grid without what is stored: half-open ranges, oldest first.

    Args:
        stored: Open times in any order; those off the grid or outside are ignored.
        timeframe: The grid's step.
        since_ms: First moment that an open time may have.
        until_ms: First moment that it may not have.

    >>> missing_ranges([0, 120_000], Timeframe.M1, since_ms=0, until_ms=240_000)
    [Range(from_ms=60000, to_ms=120000), Range(from_ms=180000, to_ms=240000)]
    """
    step = timeframe.ms
    cursor = ceil_ms(since_ms, timeframe)
    end = ceil_ms(until_ms, timeframe)
    ranges = []
    for open_ms in sorted({ms for ms in stored if cursor <= ms < end and ms % step == 0}):
        if open_ms > cursor:
            ranges.append(Range(cursor, open_ms))
        cursor = open_ms + step
    if cursor < end:
        ranges.append(Range(cursor, end))
    return ranges


def pages(span: Range, timeframe: Timeframe, *, size: int) -> list[Range]:
    """`span` cut into consecutive ranges of at most `size` candles.

    >>> pages(Range(0, 180_000), Timeframe.M1, size=2)
    [Range(from_ms=0, to_ms=120000), Range(from_ms=120000, to_ms=180000)]
    """
    step = timeframe.ms * size
    return [
        Range(start, min(start + step, span.to_ms))
        for start in range(span.from_ms, span.to_ms, step)
    ]


def count(span: Range, timeframe: Timeframe) -> int:
    """How many candles `span` holds."""
    return (span.to_ms - span.from_ms) // timeframe.ms
