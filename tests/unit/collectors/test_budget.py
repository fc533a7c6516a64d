"""One budget for each exchange: the urgent first, never faster than it allows, pauses for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collectors.backfill import Backfill, History, Rejected
from collectors.budget import Budget, Urgency, drawing
from collectors.gaps import Range
from collectors.pacing import Pace
from domain.errors import RateLimitedError
from domain.events import Candle, Source
from domain.market import Instrument, Timeframe, to_ms
from tests.doubles import START, ManualClock
from tests.factories import BTC, candles
from tests.scripted_exchange import ScriptedExchange

H1 = Timeframe.H1
COST = timedelta(seconds=1)  # of one scripted request
STEP = timedelta(milliseconds=100)
BARS = 30
NAMES = [Instrument("simulated", f"C{number}/USDT") for number in range(500)]


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


class Nothing:
    """A store that is empty, and stays so."""

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[int]:
        return []

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        return []


class Market:
    """500 instruments whose history is wanted, and one whose live edge is."""

    def __init__(self) -> None:
        self.clock = ManualClock(START + BARS * H1.duration)
        self.budget = Budget(self.clock)
        self.exchange = ScriptedExchange(self.clock, budget=self.budget)
        self.exchange.record(candles(BARS, instrument=BTC))
        self.history = History(self.exchange, check=lambda _: None, budget=self.budget)
        pace = Pace(clock=self.clock, wall=self.clock, random=np.random.default_rng(1))
        self.backfill = Backfill(self.history, stored=Nothing(), out=self._drop, pace=pace)

    async def _drop(self, good: Sequence[Candle], bad: Sequence[Rejected]) -> None:
        """Nobody reads it."""

    async def fill(self) -> None:
        await self.backfill.run(NAMES, [H1], bars=BARS, progress=lambda *_: None)

    async def repair(self, urgency: Urgency) -> datetime:
        """When a repair of BTC was answered."""
        now_ms = to_ms(self.clock.now())
        span = Range(now_ms - 3 * H1.ms, now_ms)
        await self.history.fetch(BTC, H1, span, Source.REPAIR, urgency)
        return self.clock.now()

    async def until(self, task: asyncio.Task[datetime]) -> datetime:
        await settle()
        while not task.done():
            self.clock.advance(STEP)
            await settle()
        return await task


async def test_a_backfill_of_500_instruments_delays_a_live_repair_by_one_request() -> None:
    market = Market()
    filling = asyncio.create_task(market.fill())
    for pause in (0.0, 3.4, 7.9, 0.3, 0.0, 5.0):
        for _ in range(round(pause / STEP.total_seconds())):
            market.clock.advance(STEP)
            await settle()
        await settle()
        asked = market.clock.now()

        answered = await market.until(asyncio.create_task(market.repair(Urgency.LIVE)))

        assert answered - asked <= COST
    assert len(market.exchange.requests) < len(NAMES)  # the backfill is still at work
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)


async def test_live_comes_before_repair_and_repair_before_backfill() -> None:
    market = Market()
    order: list[Urgency] = []

    async def ask(urgency: Urgency) -> datetime:
        answered = await market.repair(urgency)
        order.append(urgency)
        return answered

    asked = (Urgency.BACKFILL, Urgency.BACKFILL, Urgency.REPAIR, Urgency.LIVE, Urgency.REPAIR)
    tasks = [asyncio.create_task(ask(urgency)) for urgency in asked]
    for task in tasks:
        await market.until(task)

    assert order == [
        Urgency.BACKFILL,  # it was alone when it came
        Urgency.LIVE,
        Urgency.REPAIR,
        Urgency.REPAIR,
        Urgency.BACKFILL,
    ]


async def test_a_pause_that_one_request_was_asked_for_holds_for_all() -> None:
    market = Market()
    market.exchange.fail(RateLimitedError("slow down", timedelta(seconds=41)))
    filling = asyncio.create_task(market.fill())
    await settle()
    began, asked = market.clock.now(), len(market.exchange.requests)

    answered = await market.until(asyncio.create_task(market.repair(Urgency.LIVE)))

    assert asked == 1
    assert timedelta(seconds=41) <= answered - began <= timedelta(seconds=42)
    assert [name for name, *_ in market.exchange.requests[1:]] == [BTC]
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)


@dataclass(frozen=True)
class Wish:
    """A request to come."""

    at_ms: int
    urgency: Urgency
    cost_ms: int
    given_up_after_ms: int | None


@dataclass(frozen=True)
class Grant:
    """A request that was sent."""

    wish: Wish
    at_ms: int


wishes = st.lists(
    st.builds(
        Wish,
        at_ms=st.integers(0, 30).map(lambda n: 100 * n),
        urgency=st.sampled_from(Urgency),
        cost_ms=st.integers(0, 10).map(lambda n: 100 * n),
        given_up_after_ms=st.none() | st.integers(0, 10).map(lambda n: 100 * n),
    ),
    max_size=12,
)
pauses = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20)), max_size=3)


def given_up(wish: Wish, now_ms: int) -> bool:
    after = wish.given_up_after_ms
    return after is not None and now_ms >= wish.at_ms + after


def granted(asked: Sequence[Wish], paused: Sequence[tuple[int, int]] = ()) -> list[Grant]:
    """What a budget grants, and when, in ms since its beginning."""
    found: list[Grant] = []

    async def run() -> None:
        clock = ManualClock()
        budget = Budget(clock)

        async def ask(wish: Wish) -> None:
            with drawing(wish.urgency):
                await budget.draw(timedelta(milliseconds=wish.cost_ms))
            found.append(Grant(wish, to_ms(clock.now()) - to_ms(START)))

        tasks: list[tuple[Wish, asyncio.Task[None]]] = []
        for now_ms in range(0, 25_000, 100):
            for at, length in paused:
                if 100 * at == now_ms:
                    budget.pause(timedelta(milliseconds=100 * length))
            for task in [task for wish, task in tasks if given_up(wish, now_ms)]:
                task.cancel()
            tasks += [(w, asyncio.create_task(ask(w))) for w in asked if w.at_ms == now_ms]
            for _ in range(3 * len(tasks) + 1):
                await asyncio.sleep(0)
            clock.advance(STEP)
        await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)

    asyncio.run(run())
    return found


@given(asked=wishes, paused=pauses)
def test_no_more_is_spent_in_any_stretch_than_it_is_long_and_none_in_a_pause(
    asked: list[Wish], paused: list[tuple[int, int]]
) -> None:
    sent = granted(asked, paused)

    for earlier, later in pairwise(sent):
        assert later.at_ms - earlier.at_ms >= earlier.wish.cost_ms
    for at, length in paused:
        assert not [one for one in sent if 100 * at <= one.at_ms < 100 * (at + length)]


@given(asked=wishes)
def test_each_request_is_sent_in_its_turn_unless_it_was_given_up(asked: list[Wish]) -> None:
    sent = granted(asked)

    patient = [wish for wish in asked if wish.given_up_after_ms is None]
    assert sorted(map(repr, patient)) == sorted(
        repr(one.wish) for one in sent if one.wish.given_up_after_ms is None
    )
    for number, one in enumerate(sent):
        for later in sent[number + 1 :]:
            waited = later.wish.at_ms < one.at_ms  # and not only since this very moment
            assert not (waited and later.wish.urgency < one.wish.urgency)


@given(asked=wishes)
def test_a_live_request_waits_for_one_other_at_most_and_for_those_as_urgent(
    asked: list[Wish],
) -> None:
    live = [wish for wish in asked if wish.urgency is Urgency.LIVE]
    others = [wish.cost_ms for wish in asked if wish.urgency is not Urgency.LIVE]

    for one in granted(asked):
        if one.wish.urgency is Urgency.LIVE:
            as_urgent = sum(wish.cost_ms for wish in live)
            assert one.at_ms - one.wish.at_ms <= max(others, default=0) + as_urgent
