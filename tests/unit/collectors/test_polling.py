"""Candles that an exchange does not stream: each is asked for as it closes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.backfill import Rejected
from collectors.budget import Budget
from collectors.collector import Collector
from collectors.gaps import Cause, Gap, GapState
from collectors.pacing import Pace
from collectors.polling import lines, longest_round
from domain.errors import ExchangeUnavailableError, RateLimitedError
from domain.events import Candle, Source
from domain.market import Instrument, Timeframe, to_ms
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, candles
from tests.scripted_exchange import ScriptedExchange
from tests.unit.collectors.test_collector import (
    HISTORY,
    M1,
    MINUTE,
    SECOND,
    Stored,
    check,
    number,
    running,
    settle,
)


def polled(exchange: ScriptedExchange) -> None:
    exchange.polled = {M1}


def without(*minutes: int) -> list[Candle]:
    return [one for one in HISTORY[BTC] if number(one) not in minutes]


async def test_a_candle_is_asked_for_once_as_it_closes_and_is_no_gap() -> None:
    async with running(names=[BTC, ETH], prepare=polled) as run:
        await run.until(10, 30)
        asked = len(run.exchange.requests)
        await run.until(13, 2)

        assert run.numbers(BTC) == run.numbers(ETH) == [10, 11, 12]
        assert {(one.source, one.confirmed) for one in run.candles()} == {(Source.LIVE, True)}
        assert run.gaps() == []
        assert len(run.exchange.requests) - asked == 2 * 3
        assert run.exchange.connections == 0


async def test_a_candle_that_is_not_there_at_first_is_a_gap_until_it_comes() -> None:
    async with running(prepare=polled) as run:
        run.exchange.forget(HISTORY[BTC][10])
        await run.until(11, 1)
        assert run.gaps() == [(10, 11, Cause.SILENCE, GapState.FOUND)]

        run.exchange.record([HISTORY[BTC][10]])
        await run.until(11, 10)

        assert run.numbers() == [10]
        assert run.gaps()[1:] == [(10, 11, Cause.SILENCE, GapState.FILLED)]
        assert run.exchange.requests[-1][3] == START + 11 * MINUTE


async def test_a_minute_without_trades_is_absent_and_holds_up_nothing() -> None:
    async with running(prepare=polled) as run:
        run.exchange.forget(HISTORY[BTC][11])
        await run.until(14, 2)

        assert run.numbers() == [10, 12, 13]
        assert run.gaps() == [
            (11, 12, Cause.SILENCE, GapState.FOUND),
            (11, 12, Cause.SILENCE, GapState.ABSENT),
        ]


async def test_what_closed_while_the_exchange_was_down_comes_at_the_next_close() -> None:
    async with running(prepare=polled) as run:
        run.exchange.fail(*[ExchangeUnavailableError("down")] * 10_000)
        await run.until(30, 30)
        assert run.numbers() == []
        run.exchange.recover()
        await run.until(31, 2)

        assert run.numbers() == list(range(10, 31))


async def test_a_budget_that_is_too_small_leaves_nobody_out() -> None:
    names = [Instrument("simulated", f"C{n}/USDT") for n in range(90)]
    clock = ManualClock(START + 10 * MINUTE + SECOND)
    budget = Budget(clock)
    exchange = ScriptedExchange(clock, budget=budget)  # a request costs a second
    polled(exchange)
    exchange.record(
        one
        for seed, name in enumerate(names)
        for one in candles(20, seed=seed, instrument=name, timeframe=M1)
    )
    told: dict[Instrument, list[int]] = {name: [] for name in names}

    async def out(event: Candle | Gap | Rejected) -> None:
        assert isinstance(event, Candle)
        told[event.instrument].append(number(event))

    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    collector = Collector(exchange, stored=Stored(), out=out, check=check, pace=pace, budget=budget)
    task = asyncio.create_task(collector.run(names, [M1]))
    await settle()
    while clock.now() < START + 17 * MINUTE:
        clock.advance(SECOND)
        await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    newest = [max(numbers) for numbers in told.values()]
    assert min(newest) >= 14  # a round takes a minute and a half
    assert max(newest) == 15
    assert all(each == list(range(10, each[-1] + 1)) for each in told.values())


async def test_the_socket_is_asked_for_what_it_streams_alone() -> None:
    clock = ManualClock(START + SECOND)
    exchange = ScriptedExchange(clock)
    exchange.polled = {Timeframe.H1}
    minutes = HISTORY[BTC]
    (hour,) = candles(1, instrument=BTC, timeframe=Timeframe.H1)
    exchange.record([*minutes, hour])
    told: list[Candle] = []

    async def out(event: Candle | Gap | Rejected) -> None:
        assert isinstance(event, Candle)
        told.append(event)

    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    collector = Collector(exchange, stored=Stored(), out=out, check=check, pace=pace)
    task = asyncio.create_task(collector.run([BTC], [M1, Timeframe.H1]))
    await settle()
    for minute, closed in enumerate(minutes, start=1):
        clock.advance(START + minute * MINUTE - clock.now())
        exchange.send(closed, hour)
        await settle()
    clock.advance(2 * SECOND)
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [one for one in told if one.timeframe is M1] == minutes
    assert [one.source for one in told if one.timeframe is Timeframe.H1] == [Source.LIVE]


FAULTS = ("none", "late", "down", "busy")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.sampled_from(FAULTS), max_size=3), min_size=1, max_size=10))
def test_whatever_goes_wrong_each_candle_comes_once_and_true(script: list[list[str]]) -> None:
    async def play() -> None:
        async with running(stored=HISTORY[BTC][:9], minutes=10, prepare=polled) as run:
            for minute, faults in enumerate(script, start=10):
                late = HISTORY[BTC][minute]
                if "late" in faults:
                    run.exchange.forget(late)
                if "down" in faults:
                    run.exchange.fail(*[ExchangeUnavailableError("down")] * 2)
                if "busy" in faults:
                    run.exchange.fail(RateLimitedError("busy", 20 * SECOND))
                await run.until(minute + 1, 3)
                run.exchange.record([late])
            await run.pass_time(4 * MINUTE, step=5 * SECOND)

            now = to_ms(run.clock.now())
            expected = [one for one in HISTORY[BTC][9:] if one.close_ms <= now - 1000]
            told = [(one.open_ms, one.close, one.volume) for one in run.candles()]
            assert sorted(told) == [(one.open_ms, one.close, one.volume) for one in expected]
            assert run.exchange.connections == 0

    asyncio.run(play())


COST = timedelta(milliseconds=102)  # of coinbase


@pytest.mark.parametrize(
    ("timeframes", "instruments", "said"),
    [
        ([], 300, []),
        ([M1], 300, ["up to 32 s"]),
        ([M1, Timeframe.H1], 300, ["of 1m, 1h: each is asked for at its close, 300 requests"]),
        ([M1], 600, ["allows 588 requests a minute, 600 would be needed"]),
    ],
)
def test_what_asking_takes_is_one_line(
    timeframes: Sequence[Timeframe], instruments: int, said: list[str]
) -> None:
    found = list(lines("coinbase", timeframes, instruments=instruments, cost=COST))

    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))


def test_a_round_takes_as_long_as_its_requests_cost_and_last() -> None:
    assert longest_round(300, timedelta(seconds=1)) == timedelta(minutes=5, seconds=1)
    assert longest_round(300, timedelta(0)) == timedelta(seconds=31)
