"""A round of work beside the ticks may fail: it is told, and nothing else ends."""

from __future__ import annotations

import logging

import pytest

from backend import background
from backend.background import going_on
from backend.clock import SystemClock
from domain.errors import LeaseLostError

WORK = "a panel of the page"


def fail(error: Exception) -> None:
    with going_on(WORK):
        raise error


def test_what_nobody_foresaw_is_told_until_a_round_ends_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    began = SystemClock().now()
    fail(KeyError("postgresql://me:secret@host"))
    (first,) = background.troubles()
    fail(KeyError("another"))
    (second,) = background.troubles()
    logged = [one.exc_info is not None for one in caplog.records]
    fail(ValueError("of another kind"))
    (third,) = background.troubles()
    with going_on(WORK):
        pass

    assert first == second
    assert (first.about, first.grave) == ("background", False)
    assert first.reason == f"{WORK} failed (KeyError); it is tried again, the log has more"
    assert logged == [True]
    assert third.since == first.since >= began
    assert "ValueError" in third.reason
    assert background.troubles() == []
    assert caplog.messages[-1] == f"{WORK} does well again"


def test_a_lost_lease_and_what_the_caller_wants_are_raised() -> None:
    with pytest.raises(LeaseLostError):
        fail(LeaseLostError("another process has it"))
    with pytest.raises(KeyError), going_on(WORK, but=(KeyError,)):
        raise KeyError("mine")

    assert background.troubles() == []
