"""A clock that is set back is noticed, and forgotten once it is where it was."""

from __future__ import annotations

from datetime import timedelta

from backend.clock import SET_BACK, ClockWatch
from tests.doubles import START, ManualClock

SPEED = 60.0
LEAST = SET_BACK * SPEED
HOUR = timedelta(hours=1)


def test_a_step_back_is_told_until_it_is_made_good() -> None:
    clock, wall = ManualClock(), ManualClock()
    watch = ClockWatch(clock, wall=wall, speed=SPEED)
    watch.look()
    wall.advance(timedelta(seconds=1))
    clock.advance(-HOUR)
    watch.look()
    wall.advance(timedelta(seconds=1))
    clock.advance(HOUR / 2)
    watch.look()
    (trouble,) = watch.troubles()
    clock.advance(HOUR / 2)
    watch.look()

    assert (trouble.about, trouble.since, trouble.grave) == (
        "clock",
        START + timedelta(seconds=1),
        False,
    )
    assert "1800 s behind" in trouble.reason
    assert watch.troubles() == []


def test_what_time_servers_correct_is_none() -> None:
    clock = ManualClock()
    watch = ClockWatch(clock, wall=ManualClock(), speed=SPEED)
    watch.look()
    clock.advance(-LEAST + timedelta(milliseconds=1))
    watch.look()
    before = watch.troubles()
    clock.advance(timedelta(milliseconds=-1))
    watch.look()

    assert before == []
    assert len(watch.troubles()) == 1
