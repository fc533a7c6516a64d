"""What was measured, as it was known: for each time of knowledge the newest fact of everyone."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from operator import itemgetter

import numpy as np

from domain.events import Floats, Ints
from domain.market import Instrument
from domain.sources import Measurement

NEVER = -(2**62)

_KNOWN = itemgetter(0)

# From when on; then by instrument: of which time its newest fact is, when that was known, value.
State = tuple[int, Ints, Ints, Floats]


class Series:
    """One metric of many instruments.

    A fact is newer the later it was so; of two tellings of one fact the one known later counts.
    """

    def __init__(self) -> None:
        self._places: dict[Instrument, int] = {}
        self._states: list[State] = []  # in the order of knowledge, each whole
        self._found: tuple[object, Ints] = (None, np.empty((0, 0), dtype=np.int64))  # see `beside`

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """All of which anything was told, in the order of `at`."""
        return tuple(self._places)

    def beside(self, instruments: tuple[Instrument, ...]) -> Ints:
        """Positions of all that is measured of each one's asset, shape (n, most); −1 = no more.

        The instrument itself comes first, then the others by name.
        """
        asked = (instruments, len(self._places))
        if self._found[0] != asked:
            named: dict[str, list[Instrument]] = {}
            for one in sorted(self._places):
                named.setdefault(one.base, []).append(one)
            rows = [
                sorted(named.get(one.base, []), key=lambda other, one=one: other != one)  # type: ignore[misc]
                for one in instruments
            ]
            table = np.full((len(rows), max(map(len, rows), default=0)), -1)
            for position, row in enumerate(rows):
                table[position, : len(row)] = [self._places[one] for one in row]
            self._found = asked, table
        return self._found[1]

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Take facts, in whatever order they come."""
        by_moment: dict[int, list[Measurement]] = {}
        for one in sorted(measurements, key=lambda one: (one.known_ms, one.event_ms)):
            self._places.setdefault(one.instrument, len(self._places))
            by_moment.setdefault(one.known_ms, []).append(one)
        for known_ms, facts in by_moment.items():
            self._take(known_ms, facts)

    def at(self, as_of_ms: int) -> tuple[Ints, Floats]:
        """Event time and value of each instrument, as known at `as_of_ms`; NEVER and NaN if not."""
        _, events, _, values = self._wide(self._state(as_of_ms))
        return events, values

    def forget(self, before_ms: int) -> None:
        """What was known before, but for its newest state."""
        del self._states[: max(0, bisect_right(self._states, before_ms, key=_KNOWN) - 1)]

    def _take(self, known_ms: int, facts: Sequence[Measurement]) -> None:
        if self._state(known_ms)[0] != known_ms:
            _, events, known, values = self._state(known_ms)
            state = (known_ms, events.copy(), known.copy(), values.copy())
            insort(self._states, state, key=_KNOWN)
        first = bisect_right(self._states, known_ms, key=_KNOWN) - 1
        for position in range(first, len(self._states)):
            state = self._states[position] = self._wide(self._states[position])
            _, events, known, values = state
            for one in facts:
                place = self._places[one.instrument]
                if (one.event_ms, known_ms) >= (events[place], known[place]):
                    events[place], known[place], values[place] = one.event_ms, known_ms, one.value

    def _state(self, as_of_ms: int) -> State:
        position = bisect_right(self._states, as_of_ms, key=_KNOWN)
        none: Ints = np.empty(0, dtype=np.int64)
        return self._states[position - 1] if position else (NEVER, none, none, np.empty(0))

    def _wide(self, state: State) -> State:
        """The same with a place for every instrument."""
        moment, events, known, values = state
        never = np.full(len(self._places) - len(events), NEVER, dtype=np.int64)
        if len(never):
            events, known = np.append(events, never), np.append(known, never)
            values = np.append(values, np.full(len(never), np.nan))
        return moment, events, known, values
