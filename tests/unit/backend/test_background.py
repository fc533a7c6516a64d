"""A round of work beside the ticks may fail: it is told, and nothing else ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend import background
from backend.api.status import Market, Status
from backend.background import Rounds
from backend.clock import SystemClock
from domain.errors import LeaseLostError
from domain.troubles import Trouble

WORK = "a panel of the page"


@pytest.fixture
def work() -> Iterator[Rounds]:
    with Rounds(WORK) as one:
        yield one


def fail(work: Rounds, error: Exception) -> None:
    with work.going_on():
        raise error


def test_what_nobody_foresaw_is_told_until_a_round_ends_well(
    work: Rounds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    began = SystemClock().now()
    fail(work, KeyError("postgresql://me:secret@host"))
    (first,) = background.troubles()
    fail(work, KeyError("another"))
    (second,) = background.troubles()
    logged = [one.exc_info is not None for one in caplog.records]
    fail(work, ValueError("of another kind"))
    (third,) = background.troubles()
    with work.going_on():
        pass

    assert first == second
    assert (first.about, first.grave) == ("background", False)
    assert first.reason == f"{WORK} failed (KeyError); it is tried again, the log has more"
    assert logged == [True]
    assert third.since == first.since >= began
    assert "ValueError" in third.reason
    assert background.troubles() == []
    assert caplog.messages[-1] == f"{WORK} does well again"


def test_a_lost_lease_and_what_the_caller_wants_are_raised(work: Rounds) -> None:
    with pytest.raises(LeaseLostError):
        fail(work, LeaseLostError("another process has it"))
    with pytest.raises(KeyError), work.going_on(but=(KeyError,)):
        raise KeyError("mine")

    assert background.troubles() == []


def test_what_nobody_does_any_more_is_no_trouble() -> None:
    with Rounds(WORK) as work:
        fail(work, KeyError("of a lease that is another's soon"))
        during = background.troubles()

    assert len(during) == 1
    assert background.troubles() == []


def test_what_several_say_in_the_same_words_is_told_once_since_the_first() -> None:
    later, first = (
        Trouble(about="broker", since=datetime(2026, 1, 1, hour, tzinfo=UTC), reason="no answer")
        for hour in (5, 4)
    )
    other = replace(later, about="database")
    status = Status(market=Market.LIVE, troubles=[lambda: [later, other], lambda: [first]])

    assert status.trouble() == [first, other]
