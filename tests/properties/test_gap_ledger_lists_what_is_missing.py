"""Whatever is found, asked for, filled and given up, the ledger lists exactly what is missing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from collectors import ledger
from collectors.gaps import Cause, Range
from collectors.ledger import Entry, EntryState, Missing

POINTS = 24

spans = st.tuples(st.integers(0, POINTS - 1), st.integers(1, 6)).map(
    lambda drawn: Range(drawn[0], min(drawn[0] + drawn[1], POINTS))
)


def points(span: Range) -> set[int]:
    return set(range(*span))


class LedgerOfPoints(RuleBasedStateMachine):
    """The ledger beside a plain list of what became of each point."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: Missing = ()
        self.known: dict[int, EntryState] = {}
        self.filled: list[Entry] = []
        self.now = 0

    @rule(some=st.lists(spans, min_size=1, max_size=3))
    def find(self, some: list[Range]) -> None:
        self.now += 1
        self.entries = ledger.found(self.entries, some, Cause.JUMP, self.now)
        for point in set[int]().union(*map(points, some)):
            self.known.setdefault(point, EntryState.OPEN)

    @rule(span=spans)
    def ask(self, span: Range) -> None:
        asked = [one for one in self.entries if ledger.overlap(one.span, span)]
        self.entries = ledger.attempted(self.entries, span)
        for entry in asked:
            for point in points(entry.span):
                if self.known[point] is EntryState.OPEN:
                    self.known[point] = EntryState.REPAIRING

    @rule(span=spans)
    def give_up(self, span: Range) -> None:
        self.entries = ledger.given_up(self.entries, span)
        for point in points(span) & self.known.keys():
            self.known[point] = EntryState.UNFILLABLE

    @rule(some=st.lists(spans, min_size=1, max_size=3))
    def fill(self, some: list[Range]) -> None:
        self.now += 1
        came = set[int]().union(*map(points, some)) & self.known.keys()
        self.entries, done = ledger.filled(self.entries, some, self.now)
        assert set[int]().union(*(points(one.span) for one in done)) == came
        assert all(one.state is EntryState.FILLED and one.filled_ms == self.now for one in done)
        for point in came:
            del self.known[point]

    @invariant()
    def lists_each_missing_point_once(self) -> None:
        listed = [point for one in self.entries for point in range(*one.span)]
        assert listed == sorted(self.known)
        states = {point: one.state for one in self.entries for point in range(*one.span)}
        assert states == self.known

    @invariant()
    def parts_nothing_that_belongs_together(self) -> None:
        for one, other in pairwise(self.entries):
            assert one.span.to_ms < other.span.from_ms or one.state is not other.state


TestLedgerOfPoints = LedgerOfPoints.TestCase


def test_a_hole_that_grows_keeps_its_cause_and_when_it_was_found() -> None:
    entries = ledger.found((), [Range(0, 3)], Cause.SILENCE, 5)
    entries = ledger.attempted(entries, Range(0, 3))
    entries = ledger.found(entries, [Range(1, 6)], Cause.JUMP, 9)
    assert [(one.span, one.state) for one in entries] == [
        (Range(0, 3), EntryState.REPAIRING),
        (Range(3, 6), EntryState.OPEN),
    ]

    (whole,) = ledger.attempted(entries, Range(0, 6))

    assert (whole.span, whole.cause, whole.detected_ms) == (Range(0, 6), Cause.SILENCE, 5)
    assert whole.attempts == 2
