"""History is fetched where it is missing, and only there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from backend.unserved import lines
from collectors.backfill import Backfill, History, Rejected, Unserved
from collectors.budget import Budget
from collectors.gaps import count
from collectors.pacing import Backoff, Pace
from collectors.refusals import UnlistedError
from domain.errors import ExchangeUnavailableError, RateLimitedError
from domain.events import Candle, Source
from domain.market import Instrument, Timeframe, to_ms
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, SOL, candles
from tests.scripted_exchange import ScriptedExchange

H1 = Timeframe.H1
BARS = 2500


class Table:
    """A store in memory."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Instrument, int], Candle] = {}
        self.rejected: list[Rejected] = []

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[int]:
        return [
            ms for name, ms in self.rows if name == instrument and to_ms(since) <= ms < to_ms(until)
        ]

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        return [one for (name, _), one in self.rows.items() if name == instrument][-count:]

    async def write(self, good: Sequence[Candle], bad: Sequence[Rejected]) -> None:
        self.rows |= {(one.instrument, one.open_ms): one for one in good}
        self.rejected += bad


class Setting:
    def __init__(self) -> None:
        self.clock = ManualClock(START + BARS * H1.duration)
        self.exchange = ScriptedExchange(self.clock)
        self.table = Table()
        self.progress: list[tuple[int, int]] = []
        for name in (BTC, ETH):
            self.exchange.record(candles(BARS, instrument=name))
        pace = Pace(clock=self.clock, wall=self.clock, random=np.random.default_rng(1))
        history = History(self.exchange, check=check, budget=Budget(self.clock))
        self.backfill = Backfill(history, stored=self.table, out=self.table.write, pace=pace)

    async def run(self, names: Sequence[Instrument] = (BTC,), bars: int = 2000) -> list[Unserved]:
        return await self.backfill.run(
            names, [H1], bars=bars, progress=lambda *done: self.progress.append(done)
        )


def check(candle: Candle) -> str | None:
    return "negative volume" if candle.volume < 0 else None


async def test_the_newest_closed_candles_are_fetched_in_pages() -> None:
    setting = Setting()

    await setting.run((BTC, ETH))

    assert len(setting.table.rows) == 4000
    assert len(setting.exchange.requests) == 4
    assert {one.source for one in setting.table.rows.values()} == {Source.BACKFILL}
    assert setting.progress[0] == (0, 4000)
    assert setting.progress[-1] == (4000, 4000)
    assert setting.progress == sorted(setting.progress)


async def test_a_second_run_asks_for_nothing() -> None:
    setting = Setting()
    await setting.run()
    setting.exchange.requests.clear()

    await setting.run()

    assert setting.exchange.requests == []
    assert setting.progress[-1] == (2000, 2000)


async def test_only_what_was_lost_is_asked_for() -> None:
    setting = Setting()
    await setting.run()
    lost = sorted(setting.table.rows)[100:103]
    for key in lost:
        del setting.table.rows[key]
    setting.exchange.requests.clear()

    await setting.run()

    ((_, _, since, until),) = setting.exchange.requests
    assert (to_ms(since), to_ms(until)) == (lost[0][1], lost[-1][1] + H1.ms)
    assert len(setting.table.rows) == 2000


async def test_an_instrument_that_is_not_served_any_more_does_not_end_the_others() -> None:
    setting = Setting()
    setting.exchange.fail(UnlistedError("delisted or renamed"))

    await setting.run((BTC, ETH), bars=900)

    assert {name for name, _ in setting.table.rows} == {ETH}
    assert setting.progress[-1] == (1800, 1800)


async def test_an_interrupted_run_goes_on_where_it_was() -> None:
    setting = Setting()
    setting.exchange.fail(*[ValueError("killed")] * 2)
    with pytest.raises(ExceptionGroup):
        await setting.run((BTC, ETH))
    there = set(setting.table.rows)
    setting.exchange.requests.clear()

    await setting.run((BTC, ETH))

    assert len(setting.table.rows) == 4000
    asked = [
        (name, to_ms(since), to_ms(until)) for name, _, since, until in setting.exchange.requests
    ]
    assert not [
        ms
        for name, ms in there
        for one, since, until in asked
        if one == name and since <= ms < until
    ]


async def test_what_the_exchange_does_not_have_before_its_first_candle_is_named() -> None:
    setting = Setting()
    setting.exchange.record(candles(BARS, instrument=SOL)[-720:])

    (lacking,) = await setting.run((BTC, SOL))

    assert (lacking.instrument, lacking.timeframe) == (SOL, H1)
    assert count(lacking.span, H1) == 1280
    assert lacking.span.to_ms == min(ms for name, ms in setting.table.rows if name == SOL)
    assert next(lines([lacking], bars=2000)).startswith("simulated serves 720 of the 2000 candles")
    (again,) = await setting.run((BTC, SOL))
    assert again == lacking


async def test_an_exchange_that_is_cut_off_in_the_middle_has_all_of_the_beginning() -> None:
    setting = Setting()
    setting.table.rows = {(BTC, one.open_ms): one for one in candles(BARS)[500:600]}

    assert await setting.run() == []


async def test_it_waits_as_long_as_it_is_told_and_then_tries_again() -> None:
    setting = Setting()
    setting.exchange.fail(RateLimitedError("busy", timedelta(seconds=30)))
    task = asyncio.create_task(setting.run(bars=10))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(setting.exchange.requests) == 1

    setting.clock.advance(timedelta(seconds=30))
    await task

    assert len(setting.table.rows) == 10


async def test_an_exchange_that_is_away_is_asked_again() -> None:
    setting = Setting()
    setting.exchange.fail(ExchangeUnavailableError("away"))

    await setting.run(bars=10)

    assert len(setting.table.rows) == 10


async def test_impossible_candles_are_handed_on_apart() -> None:
    setting = Setting()
    wrong = candles(BARS)[-1]
    setting.exchange.record([replace(wrong, volume=-1.0)])

    await setting.run(bars=10)

    assert len(setting.table.rows) == 9
    assert [one.reason for one in setting.table.rejected] == ["negative volume"]


def test_the_first_retry_is_at_once_and_later_ones_grow_up_to_a_minute() -> None:
    backoff = Backoff(np.random.default_rng(3))

    waits = [backoff.next().total_seconds() for _ in range(200)]

    assert waits[0] == 0.0
    assert all(0.0 <= wait <= min(2.0**n, 60.0) for n, wait in enumerate(waits[1:]))
    assert max(waits) > 55.0
    assert min(waits[20:]) < 5.0  # full jitter
    backoff.reset()
    assert backoff.next() == timedelta(0)
