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

NOW: Final = -1  # the candles that count now; others are numbers of corrections
NEAR: Final = 4  # corrections before and after a moment
TRIES: Final = 32
NEVER_MS: Final = 1 << 62

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
    moments_ms: Sequence[int]  # at which any has changed, sorted
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
        moments = {state.since_ms for states in changed.values() for state in states[1:]}
        dated = [row for row in came.values() if row.known_ms < row.told_ms]
        return cls(cells=changed, moments_ms=sorted(moments), dated=dated)

    def tells(self, as_of_ms: int, superseded_ms: int) -> bool:
        """Whether the candles below a row are known as they were when it was made.

        Args:
            as_of_ms: of the row.
            superseded_ms: when its next revision was known.
        """
        return not any(
            one.as_of_ms <= as_of_ms and one.told_ms <= superseded_ms for one in self.dated
        )

    def between(self, known_ms: int, superseded_ms: int) -> list[int]:
        """The states of the candles by which a row may be, the likeliest first.

        Rows are made again beside the ticks: the ticks go on from the corrected candles a moment
        after, or before, the rows of them are known.

        Args:
            known_ms: when the row was known.
            superseded_ms: when its next revision was.
        """
        likely = bisect_right(self.moments_ms, known_ms)
        last = max(likely + NEAR, bisect_right(self.moments_ms, superseded_ms))
        near = range(max(likely - NEAR, 0), min(last, len(self.moments_ms)) + 1)
        return sorted(near, key=lambda one: abs(one - likely))[:TRIES]

    def candles(self, state: int) -> dict[Cell, Candle]:
        """What each corrected cell was at a state of the candles; nothing of those of now."""
        if state == NOW:
            return {}
        until_ms = self.moments_ms[state - 1] if state else -1
        return {
            cell: ([one for one in states if one.since_ms <= until_ms] or states[:1])[-1]
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
    if not row.drawn and row.compared and row.known_ms >= row.told_ms:
        drawn_ms = row.known_ms
    present_ms = row.known_ms
    if row.known_ms < row.told_ms:  # a start dates what it makes as if nobody had missed it
        present_ms = drawn_ms = drawn_ms if row.drawn else row.told_ms
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
