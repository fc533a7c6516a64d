"""The signed share of large trades, and the source that tells it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from collectors.large_trades import LEAST, LargeTrades
from collectors.pacing import Pace
from collectors.sources.large_trades import LargeTradeSource
from domain.errors import ExchangeUnavailableError, SourceUnavailableError
from domain.market import LATEST_MS, Instrument, Timeframe, from_ms
from domain.sources import Measurement, Metric, source_of
from domain.trades import Side, Trade, TradesTold
from tests.doubles import ManualClock
from tests.factories import BTC, ETH
from tests.scripted_exchange import ScriptedExchange

MINUTE, HOUR = 60_000, 3_600_000


def trade(number: int, time_ms: int, notional: float, side: Side | None = Side.BUY) -> Trade:
    return Trade(
        instrument=BTC,
        trade_id=str(number),
        number=number,
        time_ms=time_ms,
        price=2.0,
        amount=notional / 2.0,
        side=side,
    )


def small(count: int = LEAST, time_ms: int = 0) -> list[Trade]:
    """Trades of 1 to 100."""
    return [trade(n, time_ms, 1.0 + n % 100) for n in range(count)]


def heard(*trades: Trade) -> LargeTrades:
    large = LargeTrades()
    for one in trades:
        large.add(one)
    return large


def test_the_share_is_of_the_trades_above_the_last_percent_of_those_before() -> None:
    told = [trade(0, MINUTE, 300.0), trade(0, MINUTE, 100.0, Side.SELL), trade(0, MINUTE, 99.0)]

    large = heard(*small(), *told)

    # 99.01 is the 99th percentile of 1 … 100: 300 bought, 100 sold, 99 is not large.
    assert large.share(HOUR + 1) == pytest.approx((300.0 - 100.0) / 499.0)


def test_before_enough_was_seen_nothing_is_known() -> None:
    large = heard(*small(LEAST - 1), trade(0, MINUTE, 300.0))

    assert math.isnan(large.share(HOUR + 1))


def test_a_trade_does_not_judge_its_own_minute() -> None:
    crowd = [trade(0, MINUTE, 300.0) for _ in range(LEAST)]

    assert heard(*small(), *crowd).share(HOUR + 1) == 1.0


def test_a_large_trade_without_a_side_leaves_its_hour_unknown() -> None:
    assert math.isnan(heard(*small(), trade(0, MINUTE, 300.0, None)).share(HOUR + 1))
    assert heard(*small(), trade(0, MINUTE, 3.0, None)).share(HOUR + 1) == 0.0


def test_an_hour_in_which_nobody_traded_has_no_share() -> None:
    large = heard(*small(), trade(0, MINUTE, 300.0))

    assert math.isnan(large.share(3 * HOUR))


class Traded(ScriptedExchange):
    """An exchange whose trades the test tells."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.trades: asyncio.Queue[Trade | None] = asyncio.Queue()

    def fetches(self, timeframe: Timeframe) -> bool:
        del timeframe
        return True

    streams = fetches

    async def fetch_trades(self, *_: object, **__: object) -> TradesTold:
        raise ExchangeUnavailableError("nobody asks")

    async def watch_trades(self, instruments: Sequence[Instrument]) -> AsyncGenerator[Trade, None]:
        while (one := await self.trades.get()) is not None:
            yield one
        raise ExchangeUnavailableError("cut")

    async def tell(self, *trades: Trade | None) -> None:
        for one in trades:
            self.trades.put_nowait(one)
        while not self.trades.empty():  # noqa: ASYNC110 - a listener takes them
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def listening(clock: ManualClock) -> AsyncIterator[tuple[LargeTradeSource, Traded]]:
    exchange = Traded(clock)
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(1))
    source = LargeTradeSource("simulated", lambda: exchange, lambda: [BTC], pace)
    await source.poll()
    try:
        yield source, exchange
    finally:
        await source.close()


def an_hour(first_ms: int, number: int) -> list[Trade]:
    """A trade at its beginning, `LEAST` small ones, two large, and the first of the next hour."""
    crowd = [trade(number + 1 + n, first_ms, 1.0 + n % 100) for n in range(LEAST)]
    number += LEAST + 1
    return [
        trade(number - LEAST - 1, first_ms, 1.0),
        *crowd,
        trade(number, first_ms + MINUTE, 300.0),
        trade(number + 1, first_ms + 2 * MINUTE, 400.0, Side.SELL),
        trade(number + 2, first_ms + HOUR, 1.0),
    ]


async def test_the_source_tells_an_hour_once_it_has_heard_all_of_it() -> None:
    clock = ManualClock(from_ms(3 * HOUR))
    late = trade(LEAST + 4, 2 * HOUR + MINUTE, 1.0)
    async with listening(clock) as (source, exchange):
        await exchange.tell(*an_hour(HOUR, number=0))
        unknown = await source.poll()  # in the first minute nothing could be called large
        await exchange.tell(late)
        (told,) = (await source.poll()).measurements

    assert unknown.measurements == ()
    assert source.name == source_of(Metric.LARGE_TRADE_IMBALANCE, "simulated")
    assert told == Measurement(
        instrument=BTC,
        metric=Metric.LARGE_TRADE_IMBALANCE,
        event_ms=2 * HOUR + MINUTE,
        known_ms=3 * HOUR,
        value=-100.0 / 701.0,
    )


async def test_after_trades_were_missed_an_hour_is_not_told() -> None:
    clock = ManualClock(from_ms(3 * HOUR))
    async with listening(clock) as (source, exchange):
        await exchange.tell(*an_hour(HOUR, number=0), trade(LEAST + 9, 2 * HOUR + MINUTE, 1.0))
        with pytest.raises(SourceUnavailableError, match="did not come"):
            await source.poll()
        clock.advance(timedelta(seconds=1))
        await exchange.tell(trade(LEAST + 10, 2 * HOUR + 2 * MINUTE, 1.0))

        assert (await source.poll()).measurements == ()


async def test_a_trade_from_far_ahead_is_not_waited_for() -> None:
    clock = ManualClock(from_ms(3 * HOUR))
    late = trade(LEAST + 4, 2 * HOUR + MINUTE, 1.0)
    async with listening(clock) as (source, exchange):
        await exchange.tell(replace(small()[0], time_ms=LATEST_MS))
        with pytest.raises(SourceUnavailableError, match="far ahead of the clock"):
            await source.poll()
        clock.advance(timedelta(seconds=1))
        await exchange.tell(*an_hour(HOUR, number=0), late)

        (told,) = (await source.poll()).measurements
        assert told.event_ms == 2 * HOUR + MINUTE


async def test_a_lost_connection_is_told_until_trades_come_again() -> None:
    clock = ManualClock(from_ms(3 * HOUR))
    async with listening(clock) as (source, exchange):
        await exchange.tell(*small(3), None)
        with pytest.raises(SourceUnavailableError, match="cut"):
            await source.poll()
        clock.advance(timedelta(seconds=1))
        await exchange.tell(replace(small()[0], time_ms=2 * HOUR))

        assert (await source.poll()).measurements == ()


async def test_an_instrument_that_joins_is_heard_beside_those_that_were_heard_before() -> None:
    clock = ManualClock(from_ms(3 * HOUR))
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(1))
    opened: list[Traded] = []
    watched = [BTC]

    def connect() -> Traded:
        opened.append(Traded(clock))
        return opened[-1]

    source = LargeTradeSource("simulated", connect, lambda: watched, pace)
    late = trade(LEAST + 4, 2 * HOUR + MINUTE, 1.0)
    try:
        await source.poll()
        await opened[0].tell(*an_hour(HOUR, number=0), late)
        watched.append(ETH)
        before = await source.poll()
        await opened[1].tell(*(replace(one, instrument=ETH) for one in an_hour(HOUR, number=0)))
        await opened[1].tell(replace(late, instrument=ETH))
        both = await source.poll()
        watched.remove(BTC)
        after = await source.poll()
    finally:
        await source.close()

    assert [one.instrument for one in before.measurements] == [BTC]
    assert [one.instrument for one in both.measurements] == [BTC, ETH]
    assert [one.instrument for one in after.measurements] == [ETH]
    assert len(opened) == 2
