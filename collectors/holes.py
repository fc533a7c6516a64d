"""Holes of one series, and which of them to ask for next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from collectors.gaps import Cause, Range

PAGE = 1000  # candles of a hole that are asked for at once
AT_ONCE = 4  # holes asked for before what came is let go


@dataclass(slots=True)
class Hole:
    """Candles that were missing together."""

    span: Range
    cause: Cause
    absent: set[int]  # open times
    expected: bool = False  # closed just now, and still to be asked for: no gap yet
    asked: bool = False
    answers: int = 0


def newest_pages(holes: Iterable[Hole], step: int) -> list[list[Hole]]:
    """Those to be asked for next, by page: what others wait for first, then the newest.

    Args:
        holes: Of one series.
        step: Milliseconds of a candle.
    """
    every = list(holes)
    fewest = min((hole.answers for hole in every), default=0)
    due = [hole for hole in every if hole.answers == fewest or not hole.asked]
    due.sort(key=lambda hole: (hole.asked, -hole.span.from_ms))
    groups: list[list[Hole]] = []
    for hole in due:
        last = groups[-1] if groups else None
        if last and 0 <= last[0].span.to_ms - hole.span.from_ms <= PAGE * step:
            last.append(hole)
        else:
            groups.append([hole])
    return groups[:AT_ONCE]
