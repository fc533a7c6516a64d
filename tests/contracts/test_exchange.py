"""What every exchange behind the port does: the scripted one, and ccxt on the simulated one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

import pytest

from collectors.ccxt_exchange import CcxtExchange
from collectors.simulated.faults import Fault, FaultKind
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.server import Play, SimulatedExchange
from domain.errors import ExchangeUnavailableError, UnknownSymbolError
from domain.events import Candle
from domain.market import Instrument, Timeframe, to_ms
from domain.ports import Exchange
from tests.doubles import START, ManualClock
from tests.factories import candles
from tests.scripted_exchange import ScriptedExchange

H1 = Timeframe.H1
BTC = Instrument("simulated", "BTC/USDT")
ETH = Instrument("simulated", "ETH/USDT")
BARS = 1200  # more than one page


@dataclass
class Subject:
    """An exchange and the hand on its market."""

    exchange: Exchange
    close_candle: Callable[[], Awaitable[None]]  # the next hour ends, if that needs help
    cut: Callable[[], None]


@asynccontextmanager
async def scripted() -> AsyncIterator[Subject]:
    clock = ManualClock(START + BARS * H1.duration)
    exchange = ScriptedExchange(clock)
    history = {name: candles(2 * BARS, instrument=name) for name in (BTC, ETH)}
    for one in history.values():
        exchange.record(one)

    async def close_candle() -> None:
        number = (clock.now() - START) // H1.duration
        for one in history.values():
            exchange.send(replace(one[number], closed=False))
        clock.advance(H1.duration)
        for one in history.values():
            exchange.send(one[number])

    yield Subject(exchange, close_candle, exchange.disconnect)


@asynccontextmanager
async def ccxt_simulated() -> AsyncIterator[Subject]:
    market = SyntheticMarket(default_symbols(3))
    async with SimulatedExchange(market, Play(speed=14_400)) as server:
        address = f"127.0.0.1:{server.port}"
        exchange = CcxtExchange(
            "binance",
            name="simulated",
            rest_url=f"http://{address}",
            ws_url=f"ws://{address}",
            rate_limited=False,
        )

        async def close_candle() -> None:
            """Its clock runs."""

        def cut() -> None:
            server.faults.add(Fault(kind=FaultKind.DISCONNECT))

        try:
            yield Subject(exchange, close_candle, cut)
        finally:
            await exchange.close()


@pytest.fixture(params=[scripted, ccxt_simulated], ids=["scripted", "ccxt"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with request.param() as made:
        yield made


async def next_closed(subject: Subject, stream: AsyncIterator[Candle]) -> tuple[Candle, bool]:
    """The next closed candle, and whether forming versions came before it."""
    await asyncio.sleep(0)
    forming = False
    pending = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await subject.close_candle()
    while not (candle := await pending).closed:
        forming = True
        pending = asyncio.ensure_future(anext(stream))
    return candle, forming


async def exhaust(stream: AsyncIterator[Candle]) -> None:
    async for _ in stream:
        pass


async def test_history_is_closed_confirmed_ordered_and_whole(subject: Subject) -> None:
    now = await subject.exchange.fetch_time()
    since = H1.open_of(now) - (BARS - 5) * H1.duration

    got = await subject.exchange.fetch_candles(
        BTC, H1, since=since, until=now + timedelta(days=365)
    )

    later = await subject.exchange.fetch_time()
    opens = [one.open_ms for one in got]
    assert opens == [to_ms(since) + n * H1.ms for n in range(len(opens))]
    assert to_ms(now) - H1.ms < got[-1].close_ms <= to_ms(later)
    assert all(one.closed and one.confirmed and one.instrument == BTC for one in got)


async def test_a_range_is_half_open(subject: Subject) -> None:
    end = H1.open_of(await subject.exchange.fetch_time())

    got = await subject.exchange.fetch_candles(
        BTC, H1, since=end - 3 * H1.duration, until=end - H1.duration
    )

    assert [to_ms(end) - one.open_ms for one in got] == [3 * H1.ms, 2 * H1.ms]


async def test_a_range_off_the_grid_holds_the_open_times_within_it(subject: Subject) -> None:
    end = H1.open_of(await subject.exchange.fetch_time())
    second = timedelta(seconds=1)

    got = await subject.exchange.fetch_candles(
        BTC, H1, since=end - 3 * H1.duration + second, until=end - H1.duration + second
    )

    assert [to_ms(end) - one.open_ms for one in got] == [2 * H1.ms, H1.ms]


async def test_where_there_are_no_candles_there_are_none(subject: Subject) -> None:
    now = await subject.exchange.fetch_time()

    ahead = await subject.exchange.fetch_candles(
        BTC, H1, since=now + timedelta(days=30), until=now + timedelta(days=31)
    )

    assert ahead == []


async def test_listings_come_in_the_order_asked_for_with_their_sizes(subject: Subject) -> None:
    got = await subject.exchange.listings(["ETH/USDT", "BTC/USDT"])

    assert [one.instrument for one in got] == [ETH, BTC]
    assert got[1].tick_size == 0.01
    assert got[1].lot_size == 1e-5
    assert got[1].min_notional == 5.0


async def test_a_symbol_that_is_not_listed_is_named_with_the_closest_that_is(
    subject: Subject,
) -> None:
    with pytest.raises(UnknownSymbolError, match="BTC/USDT"):
        await subject.exchange.listings(["BTC/USTD"])


async def test_a_closed_candle_of_the_socket_is_the_one_of_rest(subject: Subject) -> None:
    stream = cast("Any", subject.exchange.watch_candles([BTC], [H1]))
    async with aclosing(stream):
        seen = [await next_closed(subject, stream) for _ in range(2)]

    assert subject.exchange.streams(H1)
    live = [candle for candle, _ in seen]
    assert any(forming for _, forming in seen)
    (confirmed,) = await subject.exchange.fetch_candles(
        BTC,
        H1,
        since=START.fromtimestamp(live[0].open_ms / 1000, START.tzinfo),
        until=START.fromtimestamp(live[0].close_ms / 1000, START.tzinfo),
    )
    assert live[1].open_ms == live[0].close_ms
    assert (confirmed.open, confirmed.high, confirmed.low, confirmed.close, confirmed.volume) == (
        live[0].open,
        live[0].high,
        live[0].low,
        live[0].close,
        live[0].volume,
    )


async def test_all_instruments_that_were_asked_for_are_told(subject: Subject) -> None:
    told = set()
    stream = cast("Any", subject.exchange.watch_candles([BTC, ETH], [H1]))
    async with aclosing(stream):
        for _ in range(2):
            candle, _ = await next_closed(subject, stream)
            told.add(candle.instrument)
            if len(told) < 2:
                candle = await anext(stream)
                told.add(candle.instrument)

    assert told == {BTC, ETH}


async def test_a_lost_connection_ends_the_stream_with_our_error_and_another_can_begin(
    subject: Subject,
) -> None:
    for _ in range(2):
        stream = cast("Any", subject.exchange.watch_candles([BTC], [H1]))
        async with aclosing(stream):
            await next_closed(subject, stream)
            subject.cut()

            with pytest.raises(ExchangeUnavailableError):
                await exhaust(stream)
