"""Troubles of work beside the ticks against a model of them, whatever the works are called."""

from __future__ import annotations

import contextlib
from datetime import datetime

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from backend import background
from backend.background import Rounds
from domain.errors import LeaseLostError

NAMES = ("the record of gaps of binance", "the record of gaps of kraken", "the look for orders")


class TroubleMachine(RuleBasedStateMachine):
    """The model is what each work failed with last, and since when."""

    works = Bundle("works")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Rounds] = []
        self.failing: dict[Rounds, tuple[str, type[Exception], datetime]] = {}
        self.names: dict[Rounds, str] = {}

    @rule(target=works, name=st.sampled_from(NAMES))
    def begin(self, name: str) -> Rounds:
        work = Rounds(name)
        self.all.append(work)
        self.names[work] = name
        return work

    @rule(work=works, kind=st.sampled_from((KeyError, ValueError)))
    def fail(self, work: Rounds, kind: type[Exception]) -> None:
        known = {one.since for one in background.troubles()}
        with work.going_on():
            raise kind("of nobody's foresight")
        before = self.failing.get(work)
        (*_, newest) = background.troubles()  # the longest first
        assert before is not None or newest.since not in known
        self.failing[work] = (self.names[work], kind, before[2] if before else newest.since)

    @rule(work=works)
    def do_well(self, work: Rounds) -> None:
        with work.going_on():
            pass
        self.failing.pop(work, None)

    @rule(work=works)
    def be_the_callers(self, work: Rounds) -> None:
        with contextlib.suppress(LeaseLostError), work.going_on():
            raise LeaseLostError("another process has it")
        with contextlib.suppress(OSError), work.going_on(but=(OSError,)):
            raise OSError("mine")

    @rule(work=consumes(works))
    def close(self, work: Rounds) -> None:
        work.close()
        with work.going_on():
            raise KeyError("too late to be told")
        self.failing.pop(work, None)

    @invariant()
    def each_is_told_once_since_it_began(self) -> None:
        told = [(one.reason, one.since) for one in background.troubles()]
        wanted = [
            (f"{name} failed ({kind.__name__}); it is tried again, the log has more", since)
            for name, kind, since in self.failing.values()
        ]
        assert sorted(told) == sorted(wanted)

    def teardown(self) -> None:
        for work in self.all:
            work.close()
        assert background.troubles() == []


TestTroubles = TroubleMachine.TestCase
