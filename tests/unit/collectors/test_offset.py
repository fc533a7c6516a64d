"""The exchange's clock beside ours: measured, again and again, and not by one answer alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from collectors.budget import Budget
from collectors.offset import EVERY, Offset
from collectors.pacing import Pace
from domain.errors import RateLimitedError
from tests.doubles import ManualClock
from tests.scripted_exchange import ScriptedExchange


class TellsTime(ScriptedExchange):
    """Its clock, told wrong as often as the test says."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.wrong_by: list[timedelta] = []
        self.asked = 0

    async def fetch_time(self) -> datetime:
        self.asked += 1
        right = await super().fetch_time()
        return right + self.wrong_by.pop() if self.wrong_by else right


@asynccontextmanager
async def measuring(ours: ManualClock, exchange: TellsTime) -> AsyncIterator[Offset]:
    pace = Pace(clock=ours, wall=ours, random=np.random.default_rng(1))
    offset = Offset(exchange, pace, Budget(ours))
    await offset.begin()
    keeping = asyncio.create_task(offset.keep())
    await asyncio.sleep(0)
    yield offset
    keeping.cancel()


async def pass_time(*clocks: ManualClock) -> None:
    for clock in clocks:
        clock.advance(EVERY)
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_clock_that_jumps_is_followed_within_two_measurements(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = ManualClock(), ManualClock()
    async with measuring(ours, TellsTime(theirs)) as offset:
        for _ in range(3):
            await pass_time(ours, theirs)
        assert offset.ms == 0
        told = []
        for jump, ms in ((theirs, 7_000), (ours, 0), (ours, -7_000)):
            jump.advance(timedelta(seconds=7))
            with caplog.at_level(logging.WARNING):
                for _ in range(3):
                    await pass_time(ours, theirs)
            told.append(offset.ms == ms)

    assert told == [True, True, True]
    assert [one.getMessage() for one in caplog.records] == [
        "the clock of simulated is 7000 ms ahead of ours",
        "the clock of simulated is 7000 ms behind ours",
    ]


async def test_one_wrong_answer_moves_nothing() -> None:
    ours = ManualClock()
    exchange = TellsTime(ours)
    async with measuring(ours, exchange) as offset:
        for wrong in (0, 0, 9, 0, -9, 0):
            exchange.wrong_by = [timedelta(seconds=wrong)]
            await pass_time(ours)

            assert offset.ms == 0
        assert exchange.asked == 7


@pytest.mark.parametrize("year", [1, 9999])
async def test_a_time_that_cannot_be_is_not_believed_though_no_other_is_told(
    year: int, caplog: pytest.LogCaptureFixture
) -> None:
    class Mistaken(TellsTime):
        async def fetch_time(self) -> datetime:
            return datetime(year, 12, 31, tzinfo=UTC)

    ours = ManualClock()
    async with measuring(ours, Mistaken(ours)) as offset:
        await pass_time(ours)

        assert offset.ms == 0
    assert {one.getMessage() for one in caplog.records} == {
        f"the time of simulated is not believed: {year:04}-12-31"
    }


async def test_a_request_that_is_long_on_its_way_makes_nothing_close_too_soon() -> None:
    class Slow(TellsTime):
        """Both clocks run on, before the answer is given and after it."""

        async def fetch_time(self) -> datetime:
            ours.advance(there)
            told = await super().fetch_time()
            ours.advance(back)
            return told

    for seconds in ((5, 0), (0, 5), (3, 2)):
        there, back = (timedelta(seconds=one) for one in seconds)
        ours = ManualClock()
        async with measuring(ours, Slow(ours)) as offset:
            assert offset.ms == -back // timedelta(milliseconds=1)


async def test_nobody_asks_for_the_time_during_a_pause() -> None:
    class Busy(TellsTime):
        async def fetch_time(self) -> datetime:
            self.asked += 1
            raise RateLimitedError("busy", 10 * EVERY)

    ours = ManualClock()
    exchange = Busy(ours)
    async with measuring(ours, exchange):
        for _ in range(9):
            await pass_time(ours)

        assert exchange.asked == 1
