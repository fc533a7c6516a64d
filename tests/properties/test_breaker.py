"""The circuit breaker against a model of it: any order of answers, failures and waiting."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from collectors.sources.breaker import FAILURES, FIRST_REST, LONGEST_REST, Breaker, Circuit
from tests.doubles import ManualClock

ZERO = timedelta(0)
durations = st.integers(0, 2 * 3600).map(lambda s: timedelta(seconds=s))


class BreakerMachine(RuleBasedStateMachine):
    """The model is the list of what happened since the last answer."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.breaker = Breaker(self.clock)
        self.failures = 0
        self.rests: list[timedelta] = []  # of the breaker's own
        self.until = self.clock.now()
        self.opened = False

    @rule(duration=durations)
    def wait(self, duration: timedelta) -> None:
        self.clock.advance(duration)

    @rule()
    def answer(self) -> None:
        self.breaker.succeeded()
        self.failures, self.rests, self.opened = 0, [], False

    @rule(retry_after=st.none() | durations)
    def fail(self, retry_after: timedelta | None) -> None:
        self.failures += 1
        rest = ZERO
        if self.opened or self.failures >= FAILURES:
            rest = min(2 * self.rests[-1], LONGEST_REST) if self.rests else FIRST_REST
            self.rests.append(rest)
        rest = max(rest, retry_after or ZERO)
        if rest > ZERO:
            self.opened, self.until = True, self.clock.now() + rest

        self.breaker.failed(retry_after)

        if retry_after is not None:
            assert self.breaker.left >= retry_after

    @invariant()
    def the_state_follows_from_what_happened(self) -> None:
        if not self.opened:
            assert self.breaker.state is Circuit.CLOSED
            assert self.failures < FAILURES
        elif self.clock.now() < self.until:
            assert self.breaker.state is Circuit.OPEN
            assert self.breaker.left == self.until - self.clock.now()
        else:
            assert self.breaker.state is Circuit.HALF_OPEN

    @invariant()
    def only_an_open_breaker_makes_wait(self) -> None:
        assert (self.breaker.left > ZERO) == (self.breaker.state is Circuit.OPEN)


TestBreaker = BreakerMachine.TestCase
