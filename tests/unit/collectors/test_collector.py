"""The seam between history and socket, whatever the exchange does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.backfill import Rejected
from collectors.collector import Collector
from collectors.gaps import Cause, Gap, GapState
from collectors.pacing import Pace
from domain.errors import ExchangeUnavailableError, RateLimitedError, UnknownSymbolError
from domain.events import Candle, Source
from domain.market import Instrument, Timeframe, to_ms
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, candles
from tests.scripted_exchange import ScriptedExchange

M1 = Timeframe.M1
SECOND = timedelta(seconds=1)
MINUTE = M1.duration
HISTORY = {
    name: candles(60, seed=seed, instrument=name, timeframe=M1)
    for seed, name in enumerate((BTC, ETH))
}


def check(candle: Candle) -> str | None:
    return "high below low" if candle.high < candle.low else None


@dataclass
class Stored:
    """What an earlier run left."""

    candles: Sequence[Candle] = ()
    ready: asyncio.Event | None = None  # answers nothing before this is set

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[int]:
        if self.ready is not None:
            await self.ready.wait()
        return [
            one.open_ms
            for one in self.candles
            if one.instrument == instrument and to_ms(since) <= one.open_ms < to_ms(until)
        ]

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        return [one for one in self.candles if one.instrument == instrument][-count:]


@dataclass
class Running:
    """A collector at work, and what it handed on."""

    clock: ManualClock
    exchange: ScriptedExchange
    events: list[Candle | Gap | Rejected] = field(default_factory=list)
    collector: Collector | None = None
    task: asyncio.Task[None] = field(init=False)

    async def pass_time(
        self, duration: timedelta = timedelta(0), *, step: timedelta = SECOND
    ) -> None:
        """Advance by `duration`, a `step` at a time, and let everyone finish."""
        await settle()
        end = self.clock.now() + duration
        while self.clock.now() < end:
            self.clock.advance(min(step, end - self.clock.now()))
            await settle()

    async def until(self, minute: int, second: int = 0) -> None:
        """Advance to that time after `START`."""
        await self.pass_time(START + minute * MINUTE + second * SECOND - self.clock.now())

    def candles(self, name: Instrument = BTC) -> list[Candle]:
        return [one for one in self.events if isinstance(one, Candle) and one.instrument == name]

    def numbers(self, name: Instrument = BTC) -> list[int]:
        """The released candles, as minutes since the start."""
        return [number(one) for one in self.candles(name)]

    def gaps(self) -> list[tuple[int, int, Cause, GapState]]:
        return [
            (
                (one.from_ms - to_ms(START)) // M1.ms,
                (one.to_ms - to_ms(START)) // M1.ms,
                one.cause,
                one.state,
            )
            for one in self.events
            if isinstance(one, Gap) and one.state is not GapState.ASKED
        ]


async def settle() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


def number(candle: Candle) -> int:
    return (candle.open_ms - to_ms(START)) // M1.ms


def forming(candle: Candle, **changes: Any) -> Candle:
    return replace(candle, closed=False, **changes)


@asynccontextmanager
async def running(
    *,
    minutes: int = 10,
    stored: Sequence[Candle] = (),
    ready: asyncio.Event | None = None,
    names: Sequence[Instrument] = (BTC,),
    prepare: Callable[[ScriptedExchange], None] = lambda _: None,
) -> AsyncIterator[Running]:
    """A collector started just after minute `minutes` on an exchange with an hour's candles."""
    clock = ManualClock(START + minutes * MINUTE + SECOND)
    exchange = ScriptedExchange(clock)
    for name in names:
        exchange.record(HISTORY[name])
    prepare(exchange)
    run = Running(clock, exchange)

    async def out(event: Candle | Gap | Rejected) -> None:
        run.events.append(event)

    run.collector = Collector(
        exchange,
        stored=Stored(stored, ready),
        out=out,
        check=check,
        pace=Pace(clock=clock, wall=clock, random=np.random.default_rng(7)),
    )
    run.task = asyncio.create_task(run.collector.run(names, [M1]))
    await settle()
    try:
        yield run
    finally:
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)


async def test_a_closed_candle_is_released_as_it_comes() -> None:
    async with running() as run:
        await run.until(11)
        run.exchange.send(HISTORY[BTC][10])
        await run.pass_time()

        assert run.candles() == [HISTORY[BTC][10]]
        assert run.gaps() == []


async def test_what_closed_while_nothing_ran_comes_from_rest_before_what_is_live() -> None:
    async with running(minutes=10, stored=HISTORY[BTC][:7]) as run:
        await run.until(11)
        run.exchange.send(HISTORY[BTC][10])
        await run.pass_time()

        assert run.numbers() == [7, 8, 9, 10]
        assert [one.source for one in run.candles()] == [Source.REPAIR] * 3 + [Source.LIVE]
        assert run.gaps() == [
            (7, 10, Cause.START, GapState.FOUND),
            (7, 10, Cause.START, GapState.FILLED),
        ]


@pytest.mark.parametrize("year", [1, 9999])
async def test_an_exchange_that_tells_an_impossible_time_is_followed_by_our_clock(
    year: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch_time(exchange: ScriptedExchange) -> datetime:
        return datetime(year, 12, 31, tzinfo=UTC)

    monkeypatch.setattr(ScriptedExchange, "fetch_time", fetch_time)
    async with running(minutes=10, stored=HISTORY[BTC][:7]) as run:
        await run.until(11)
        run.exchange.send(HISTORY[BTC][10])
        await run.pass_time()

        assert run.numbers() == [7, 8, 9, 10]


async def test_a_hole_in_the_store_is_repaired_at_the_start() -> None:
    stored = HISTORY[BTC][:4] + HISTORY[BTC][6:10]
    async with running(minutes=10, stored=stored) as run:
        await run.pass_time()

        assert run.numbers() == [4, 5]


async def test_messages_that_come_before_history_wait_for_it() -> None:
    ready = asyncio.Event()
    async with running(minutes=10, stored=HISTORY[BTC][:7], ready=ready) as run:
        await run.until(11)
        run.exchange.send(HISTORY[BTC][10], HISTORY[BTC][9])
        await run.pass_time()
        assert run.numbers() == []

        ready.set()
        await run.pass_time()

        assert run.numbers() == [7, 8, 9, 10]


async def test_history_that_cannot_be_had_at_once_does_not_hold_up_what_is_live() -> None:
    def prepare(exchange: ScriptedExchange) -> None:
        exchange.fail(*[ExchangeUnavailableError("down")] * 3)

    async with running(minutes=10, stored=HISTORY[BTC][:7], prepare=prepare) as run:
        run.exchange.fail(*[ExchangeUnavailableError("still down")] * 5)
        await run.pass_time(SECOND)
        run.exchange.send(replace(HISTORY[BTC][9], event_ms=1))
        await run.pass_time()
        assert run.numbers() == [9]

        await run.until(11)

        assert run.numbers() == [9, 7, 8]


async def test_a_revision_before_the_connection_was_lost_is_seen_after_it() -> None:
    async with running() as run:
        await run.until(11)
        run.exchange.send(HISTORY[BTC][10])
        await run.until(11, 10)
        run.exchange.record([replace(HISTORY[BTC][10], volume=77.0)])
        run.exchange.disconnect()
        await run.pass_time(SECOND)

        assert [one.volume for one in run.candles()] == [HISTORY[BTC][10].volume, 77.0]


async def test_rest_is_asked_again_where_the_socket_contradicts_what_it_confirmed() -> None:
    async with running() as run:
        await run.until(11)
        right = HISTORY[BTC][10]
        run.exchange.record([replace(right, volume=right.volume / 2)])
        run.exchange.send(forming(right), forming(HISTORY[BTC][11]))
        await run.until(11, 5)
        run.exchange.record([right])
        run.exchange.send(replace(right, event_ms=right.close_ms + 1))
        await run.until(11, 10)

        assert [one.volume for one in run.candles()] == [
            right.volume,
            right.volume / 2,
            right.volume,
        ]


async def test_a_candle_from_far_ahead_is_refused_and_makes_no_gap() -> None:
    async with running() as run:
        await run.until(11)
        absurd = replace(HISTORY[BTC][10], open_ms=to_ms(START) + 2_000_000 * M1.ms)
        run.exchange.send(absurd, HISTORY[BTC][10])
        await run.pass_time()

        assert run.numbers() == [10]
        assert run.gaps() == []
        assert [one.candle for one in run.events if isinstance(one, Rejected)] == [absurd]


async def test_an_older_version_after_a_newer_one_changes_nothing() -> None:
    async with running() as run:
        await run.until(11)
        newer = replace(HISTORY[BTC][10], event_ms=2)
        run.exchange.send(newer, replace(newer, event_ms=1, volume=1.0))
        await run.pass_time()

        assert run.candles() == [newer]


async def test_instruments_are_released_together_in_order_of_close_times() -> None:
    stored = HISTORY[BTC][:7] + HISTORY[ETH][:8]
    async with running(minutes=10, stored=stored, names=(BTC, ETH)) as run:
        await run.pass_time()

        released = [one for one in run.events if isinstance(one, Candle)]
        assert [(number(one), one.instrument.base) for one in released] == [
            (7, "BTC"),
            (8, "BTC"),
            (8, "ETH"),
            (9, "BTC"),
            (9, "ETH"),
        ]


async def test_a_candle_that_the_socket_left_out_is_repaired_before_the_next_is_released() -> None:
    async with running() as run:
        await run.until(11)
        run.exchange.send(forming(HISTORY[BTC][11]))
        await run.until(11, 30)
        run.exchange.send(HISTORY[BTC][11])
        await run.until(12)

        assert run.numbers() == [10, 11]
        assert [one.source for one in run.candles()] == [Source.REPAIR, Source.LIVE]


async def test_silence_past_the_grace_is_asked_about() -> None:
    async with running() as run:
        await run.until(11, 1)

        assert run.numbers() == [10]
        assert run.gaps()[0][2:] == (Cause.SILENCE, GapState.FOUND)


async def test_a_forming_candle_is_closed_by_the_first_of_the_next_interval() -> None:
    async with running() as run:
        await run.until(11)
        run.exchange.send(forming(HISTORY[BTC][10], event_ms=1), forming(HISTORY[BTC][11]))
        await run.pass_time()

        assert run.candles() == [replace(HISTORY[BTC][10], event_ms=1)]


async def test_a_stale_version_closed_by_the_next_interval_is_corrected_by_rest() -> None:
    async with running() as run:
        await run.until(11)
        stale = forming(HISTORY[BTC][10], close=HISTORY[BTC][10].open)
        run.exchange.send(stale, forming(HISTORY[BTC][11]))
        await run.until(11, 2)

        assert [one.close for one in run.candles()] == [stale.close, HISTORY[BTC][10].close]
        assert run.candles()[1].confirmed


async def test_a_stale_version_is_corrected_however_late_rest_tells_the_right_one() -> None:
    async with running() as run:
        stale = forming(HISTORY[BTC][10], close=HISTORY[BTC][10].open)
        run.exchange.send(stale)
        for late in HISTORY[BTC][10:13]:
            run.exchange.forget(late)
        for closed in HISTORY[BTC][11:13]:
            await run.until(number(closed) + 1)
            run.exchange.send(closed)
        run.exchange.record(HISTORY[BTC][10:13])
        await run.until(15)

        assert [one.close for one in run.candles() if number(one) == 10] == [
            stale.close,
            HISTORY[BTC][10].close,
        ]


async def test_a_candle_that_was_given_up_comes_however_late_rest_tells_it() -> None:
    async with running() as run:
        for late in HISTORY[BTC][10:14]:
            run.exchange.forget(late)
        await run.until(14)
        assert GapState.ABSENT in {gap[3] for gap in run.gaps()}
        run.exchange.record(HISTORY[BTC][10:14])
        run.exchange.send(HISTORY[BTC][13], HISTORY[BTC][14])
        await run.until(20)

        assert sorted(run.numbers()) == list(range(10, 19))


async def test_a_candle_that_rest_never_tells_is_asked_for_more_and_more_rarely() -> None:
    async with running() as run:
        run.exchange.send(forming(HISTORY[BTC][10]))
        for absent in HISTORY[BTC][10:]:
            run.exchange.forget(absent)
        for closed in HISTORY[BTC][11:40]:
            await run.until(number(closed) + 1)
            run.exchange.send(closed)
        await run.pass_time()

        assert run.numbers() == list(range(10, 40))
        assert len(run.exchange.requests) < 20


async def test_what_the_socket_told_wrong_is_corrected_after_an_outage_of_rest() -> None:
    async with running() as run:
        run.exchange.fail(*[ExchangeUnavailableError("down")] * 10_000)
        for closed in HISTORY[BTC][10:50]:
            await run.until(number(closed) + 1)
            wrong = number(closed) == 10
            run.exchange.send(replace(closed, close=closed.open) if wrong else closed)
        run.exchange.recover()
        await run.until(52)

        assert [one.close for one in run.candles() if number(one) == 10] == [
            HISTORY[BTC][10].open,
            HISTORY[BTC][10].close,
        ]


async def test_what_the_socket_said_is_compared_with_rest_nine_candles_at_a_time() -> None:
    async with running() as run:
        await run.until(11)
        run.exchange.requests.clear()
        for closed in HISTORY[BTC][10:38]:
            await run.until(number(closed) + 1)
            wrong = number(closed) in {12, 20}
            run.exchange.send(replace(closed, close=closed.open) if wrong else closed)
        await run.pass_time(5 * SECOND)

        assert len(run.exchange.requests) == 3
        assert {number(one): one.close for one in run.candles() if one.confirmed} == {
            number(one): one.close for one in HISTORY[BTC] if number(one) in {12, 20}
        }


async def test_a_forming_candle_is_closed_by_time_after_the_grace() -> None:
    async with running() as run:
        run.exchange.send(forming(HISTORY[BTC][10]))
        await run.until(11)
        assert run.numbers() == []

        await run.pass_time(SECOND)

        assert run.numbers() == [10]
        assert run.gaps() == []


async def test_the_exchanges_flag_wins_over_a_version_closed_by_time() -> None:
    async with running() as run:
        run.exchange.send(forming(HISTORY[BTC][10], close=HISTORY[BTC][10].open, event_ms=1))
        run.exchange.fail(*[ExchangeUnavailableError("down")] * 3)
        await run.until(11, 1)
        run.exchange.send(replace(HISTORY[BTC][10], event_ms=2))
        await run.pass_time()

        assert [one.close for one in run.candles()] == [
            HISTORY[BTC][10].open,
            HISTORY[BTC][10].close,
        ]


async def test_duplicates_and_confirmations_are_no_events() -> None:
    async with running() as run:
        await run.until(11)
        run.exchange.send(HISTORY[BTC][10], HISTORY[BTC][10])
        await run.pass_time()
        run.exchange.disconnect()  # REST confirms the last two candles after a reconnect
        await run.pass_time(SECOND)

        assert run.exchange.connections == 2
        assert run.numbers() == [10]


async def test_a_reconnect_at_once_repairs_what_closed_meanwhile() -> None:
    async with running() as run:
        await run.until(11)
        run.exchange.send(HISTORY[BTC][10])
        await run.until(11, 59)
        run.exchange.refuse(*[ExchangeUnavailableError("down")] * 4)
        run.exchange.disconnect()
        await run.pass_time(10 * SECOND)

        assert run.exchange.connections == 2
        assert run.numbers() == [10, 11]
        assert run.gaps() == [
            (11, 12, Cause.RECONNECT, GapState.FOUND),
            (11, 12, Cause.RECONNECT, GapState.FILLED),
        ]


async def test_a_connection_that_gives_nothing_does_not_count_as_success() -> None:
    """Accepting and closing at once must not lead to a reconnect loop without pauses."""
    async with running() as run:
        for _ in range(40):
            run.exchange.disconnect()
            await run.pass_time(SECOND)

        assert run.exchange.connections < 25


async def test_a_pause_that_the_exchange_asks_for_is_kept_by_all_requests() -> None:
    def prepare(exchange: ScriptedExchange) -> None:
        exchange.fail(RateLimitedError("slow down", timedelta(seconds=30)))

    stored = HISTORY[BTC][:7] + HISTORY[ETH][:7]
    async with running(minutes=10, stored=stored, names=(BTC, ETH), prepare=prepare) as run:
        await run.pass_time()
        asked = len(run.exchange.requests)
        await run.pass_time(29 * SECOND)
        assert len(run.exchange.requests) == asked
        assert run.exchange.connections == 1

        await run.pass_time(3 * SECOND)

        assert sorted(run.numbers(BTC)) == [7, 8, 9]
        assert sorted(run.numbers(ETH)) == [7, 8, 9]


async def test_a_pause_asked_for_at_the_socket_is_kept() -> None:
    def prepare(exchange: ScriptedExchange) -> None:
        exchange.refuse(RateLimitedError("banned", timedelta(minutes=2)))

    async with running(prepare=prepare) as run:
        await run.pass_time(119 * SECOND)
        assert run.exchange.connections == 0

        await run.pass_time(SECOND)

        assert run.exchange.connections == 1


async def test_a_silent_socket_is_left_when_trades_were_made() -> None:
    async with running() as run:
        assert run.exchange.connections == 1

        await run.until(11, 3)

        assert run.exchange.connections == 2
        assert run.numbers() == [10]


async def test_it_stops_when_told_so_while_its_connection_is_being_lost() -> None:
    for moments in range(12):  # of the event loop, between the loss and the order
        async with running() as run:
            run.exchange.disconnect()
            for _ in range(moments):
                await asyncio.sleep(0)
            run.task.cancel()
            await settle()

            assert run.task.cancelled()


async def test_a_quiet_market_is_no_reason_to_reconnect() -> None:
    def prepare(exchange: ScriptedExchange) -> None:
        exchange.record(replace(one, volume=0.0) for one in HISTORY[BTC])

    async with running(prepare=prepare) as run:
        await run.until(13, 3)

        assert run.exchange.connections == 1
        assert run.numbers() == [10, 11, 12]


async def test_a_candle_that_the_exchange_never_had_is_absent_and_not_made_up() -> None:
    clock_hole = [one for one in HISTORY[BTC] if number(one) != 8]
    clock = ManualClock(START + 10 * MINUTE + SECOND)
    exchange = ScriptedExchange(clock)
    exchange.record(clock_hole)
    run = Running(clock, exchange)

    async def out(event: Candle | Gap | Rejected) -> None:
        run.events.append(event)

    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    collector = Collector(
        exchange, stored=Stored(HISTORY[BTC][:7]), out=out, check=check, pace=pace
    )
    task = asyncio.create_task(collector.run([BTC], [M1]))
    await run.pass_time(30 * SECOND)
    asked = len(exchange.requests)
    await run.pass_time(29 * SECOND)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert run.numbers() == [7, 9]
    assert run.gaps()[-3:] == [
        (7, 8, Cause.START, GapState.FILLED),
        (9, 10, Cause.START, GapState.FILLED),
        (8, 9, Cause.START, GapState.ABSENT),
    ]
    assert len(exchange.requests) == asked


async def test_an_impossible_candle_goes_to_quarantine_with_its_reason() -> None:
    async with running() as run:
        await run.until(11)
        wrong = replace(HISTORY[BTC][10], high=1.0)
        run.exchange.send(wrong)
        await run.pass_time()

        assert run.events == [Rejected(candle=wrong, reason="high below low")]


async def test_an_instrument_added_while_running_is_followed_and_nothing_is_lost() -> None:
    async with running() as run:
        run.exchange.record(HISTORY[ETH])
        assert run.collector is not None
        run.collector.watch([BTC, ETH])
        await run.until(11)
        run.exchange.send(HISTORY[BTC][10], HISTORY[ETH][10])
        await run.pass_time()

        assert run.numbers(BTC) == [10]
        assert run.numbers(ETH) == [10]


async def test_a_mistake_in_what_is_asked_ends_the_run() -> None:
    clock = ManualClock()
    exchange = ScriptedExchange(clock)
    exchange.refuse(UnknownSymbolError("BTC/USD", ["BTC/USDT"]))

    async def out(event: Candle | Gap | Rejected) -> None:
        raise AssertionError

    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    collector = Collector(exchange, stored=Stored(), out=out, check=check, pace=pace)

    with pytest.raises(UnknownSymbolError, match="BTC/USDT"):
        await collector.run([BTC], [M1])


STEP = 10 * SECOND
FAULTS = ("none", "drop", "twice", "late", "cut", "down", "busy")


@settings(max_examples=30, deadline=None)
@example([["cut", "down"], ["cut"], ["cut"], ["cut"], ["drop", "down"]])
@given(st.lists(st.lists(st.sampled_from(FAULTS), max_size=3), min_size=1, max_size=10))
def test_whatever_goes_wrong_each_candle_is_released_once_and_true(
    script: list[list[str]],
) -> None:
    async def play() -> None:
        async with running(stored=HISTORY[BTC][:9], minutes=10) as run:
            late: list[Candle] = []
            for minute, faults in enumerate(script, start=10):
                closed = HISTORY[BTC][minute]
                run.exchange.send(forming(closed, close=closed.open, event_ms=1))
                wait = START + (minute + 1) * MINUTE - run.clock.now()
                await run.pass_time(wait, step=STEP)
                if "cut" in faults:
                    run.exchange.disconnect()
                if "down" in faults:
                    run.exchange.refuse(ExchangeUnavailableError("down"))
                if "busy" in faults:
                    run.exchange.fail(RateLimitedError("busy", 20 * SECOND))
                run.exchange.send(*late)
                late = [closed] if "late" in faults else []
                times = 0 if set(faults) & {"drop", "late"} else 1
                run.exchange.send(
                    *[replace(closed, event_ms=2)] * (2 if "twice" in faults else times)
                )
                await run.pass_time()
            await run.pass_time(4 * MINUTE, step=STEP)
            run.exchange.disconnect()  # the last ones are confirmed
            await run.pass_time(30 * SECOND, step=STEP)
            while not run.exchange.connected:  # it may wait a minute before the next try
                await run.pass_time(STEP, step=STEP)

            newest = {one.open_ms: one for one in run.candles()}
            now = to_ms(run.clock.now())
            expected = [one for one in HISTORY[BTC][9:] if one.close_ms <= now - 1000]
            assert sorted(newest) == [one.open_ms for one in expected]
            told = [(one.open_ms, one.close, one.volume) for one in run.candles()]
            assert len(told) == len(set(told))
            assert {ms: one.close for ms, one in newest.items()} == {
                one.open_ms: one.close for one in expected
            }

    asyncio.run(play())


async def test_once_a_stalled_exchange_speaks_again_what_it_missed_comes_at_once() -> None:
    async with running() as run:
        run.exchange.fail(*[ExchangeUnavailableError("the script says no")] * 10_000)
        await run.until(40)
        assert run.numbers() == []
        run.exchange.recover()

        run.exchange.send(HISTORY[BTC][39])
        await run.pass_time(3 * SECOND)

        assert run.numbers() == list(range(10, 40))
