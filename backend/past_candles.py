"""The candles of a panel as they were before they were corrected.

The record of rows gives it: each row holds the candle that it was made of and says when it was
known, so that the moment at which a correction was taken in is that of the first row made of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

import asyncpg

from backend.store import corrections
from backend.store.corrections import LateRow, Prices, RowMade
from backend.store.served_rows import Members

NOW: Final = 1 << 62  # the candles that count now
NEAR: Final = 4  # corrections before and after a moment
TRIES: Final = 32
NEVER_MS: Final = NOW

Cell = tuple[int, int]  # as_of in ms, place of the instrument


class Candle(NamedTuple):
    """What is known of a cell from a moment on."""

    since_ms: int
    prices: Prices | None  # None: there is no candle
    late: bool = False  # it came after the cross-section of its close was drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """How the candles of a panel were corrected: each cell's states, oldest first."""

    cells: Mapping[Cell, Sequence[Candle]]
    changes: Sequence[tuple[int, int]]  # (moment, close of what has changed) in ms, sorted
    dated: Sequence[LateRow] = ()  # by a start, at their close: what was there since when is lost

    @classmethod
    def of(
        cls,
        corrected: Iterable[RowMade],
        afterwards: Iterable[LateRow],
        told: set[tuple[int, int, Prices]],
    ) -> Past:
        """From the rows that several candles, or late ones, have made.

        Args:
            corrected: all revisions of rows that have several, by cell.
            afterwards: first rows of candles that were not there when their close was answered.
            told: the versions of all these candles; a row of another one is not believed.
        """
        came = {(row.as_of_ms, row.place): row for row in afterwards}
        made = [row for row in corrected if (row.as_of_ms, row.place, row.candle) in told]
        again: dict[int, list[int]] = {}
        for row in made:
            if row.revision > 1:
                again.setdefault(row.as_of_ms, []).append(row.known_ms)
        cells: dict[Cell, list[Candle]] = {}
        for cell, rows in groupby(made, key=lambda row: (row.as_of_ms, row.place)):
            cells[cell] = [Candle(row.known_ms, row.candle) for row in rows]
        for cell, row in came.items():
            if (*cell, row.candle) in told:
                versions = cells.get(cell, [Candle(row.known_ms, row.candle)])
                cells[cell] = _beginning(row, versions, again.get(cell[0], ()))
        changes = {cell: _changes(states) for cell, states in cells.items()}
        changed = {cell: states for cell, states in changes.items() if len(states) > 1}
        moments = {
            (state.since_ms, close_ms)
            for (close_ms, _), states in changed.items()
            for state in states[1:]
        }
        dated = [row for row in came.values() if row.dated]
        return cls(cells=changed, changes=sorted(moments), dated=dated)

    def tells(self, as_of_ms: int, superseded_ms: int) -> bool:
        """Whether the candles below a row are known as they were when it was made.

        Args:
            as_of_ms: of the row.
            superseded_ms: when its next revision was known.
        """
        return not any(
            one.as_of_ms <= as_of_ms and one.told_ms <= superseded_ms for one in self.dated
        )

    def between(self, as_of_ms: int, known_ms: int, superseded_ms: int) -> list[int]:
        """The moments whose candles a row may be made of, the likeliest first.

        Rows are made again beside the ticks: the ticks go on from the corrected candles a moment
        after, or before, the rows of them are known. A tick is known when its candles came, and
        is answered after whatever was before it.

        Args:
            as_of_ms: of the row; what was corrected of later closes is nothing to it.
            known_ms: when the row was known.
            superseded_ms: when its next revision was.
        """
        moments = [-1, *dict.fromkeys(at for at, close_ms in self.changes if close_ms <= as_of_ms)]
        likely = bisect_right(moments, known_ms) - 1
        last = max(likely + NEAR, bisect_right(moments, superseded_ms) - 1)
        near = range(max(likely - NEAR, 0), min(last + 1, len(moments)))
        nearest = sorted(near, key=lambda one: abs(one - likely))[:TRIES]
        return [moments[one] for one in nearest]

    def candles(self, moment_ms: int) -> dict[Cell, Candle]:
        """What each corrected cell was at a moment; nothing of those of now."""
        if moment_ms == NOW:
            return {}
        return {
            cell: ([one for one in states if one.since_ms <= moment_ms] or states[:1])[-1]
            for cell, states in self.cells.items()
        }


def _changes(states: Sequence[Candle]) -> list[Candle]:
    """Those that differ from the one before; the first holds from the beginning."""
    return [next(group) for _, group in groupby(states, key=lambda one: one[1:])]


def _beginning(row: LateRow, versions: Sequence[Candle], again_ms: Sequence[int]) -> list[Candle]:
    """The states of a candle that came after its close was answered.

    Args:
        row: its first.
        versions: of the candle, from its first row on.
        again_ms: when rows of that close were made again.
    """
    drawn_ms = min((one for one in again_ms if one >= row.known_ms), default=NEVER_MS)
    present_ms = row.known_ms
    if row.dated:
        present_ms = drawn_ms = drawn_ms if row.drawn else row.told_ms
    elif not row.drawn and row.compared:
        drawn_ms = row.known_ms
    elif drawn_ms > row.known_ms and len(versions) > 1:
        drawn_ms = versions[1].since_ms  # others may have been before it was answered
    states = [Candle(-1, None)]
    for moment in sorted({present_ms, drawn_ms, *(one.since_ms for one in versions[1:])}):
        if present_ms <= moment < NEVER_MS:
            prices = [one for one in versions if one.since_ms <= moment] or versions[:1]
            states.append(Candle(moment, prices[-1].prices, moment < drawn_ms))
    return states


async def past_of(connection: asyncpg.Connection, members: Members) -> Past:
    """How the candles of a panel were corrected, by the record of its rows."""
    made = await corrections.corrected(connection, members)
    late = await corrections.afterwards(connection, members)
    cells = sorted({(row.as_of_ms, row.place) for row in (*made, *late)})
    told = await corrections.versions(connection, members, cells)
    return Past.of(made, late, told)
