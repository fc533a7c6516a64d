"""ccxt's client against the simulated exchange over real sockets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from collectors.budget import Budget
from collectors.ccxt_exchange import CcxtExchange
from collectors.simulated.faults import Fault, FaultKind
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.server import Play, SimulatedExchange
from domain.errors import (
    ExchangeUnavailableError,
    RateLimitedError,
    UnknownExchangeError,
    UnknownTimeframeError,
)
from domain.market import Instrument, Timeframe
from tests.doubles import ManualClock

H1 = Timeframe.H1
BTC = Instrument("simulated", "BTC/USDT")


@asynccontextmanager
async def connected(
    symbols: int = 2, speed: float = 7200, kind: type[CcxtExchange] = CcxtExchange
) -> AsyncIterator[tuple[SimulatedExchange, CcxtExchange]]:
    market = SyntheticMarket(default_symbols(symbols))
    async with SimulatedExchange(market, Play(speed=speed)) as server:
        exchange = kind(
            "binance",
            name="simulated",
            rest_url=f"http://127.0.0.1:{server.port}",
            ws_url=f"ws://127.0.0.1:{server.port}",
            rate_limited=False,
        )
        try:
            yield server, exchange
        finally:
            await exchange.close()


async def test_500_instruments_close_together_and_each_candle_comes_once() -> None:
    names = [Instrument("simulated", symbol) for symbol in default_symbols(500)]
    closed: Counter[tuple[Instrument, int]] = Counter()

    ticks: Counter[int] = Counter()

    async with (
        asyncio.timeout(60),
        connected(symbols=500, speed=3600) as (_, exchange),
        aclosing(exchange.watch_candles(names, [H1])) as stream,
    ):
        async for candle in stream:
            closed[candle.instrument, candle.open_ms] += candle.closed
            ticks[candle.open_ms] += candle.closed
            if sorted(ticks.values())[-2:] == [500, 500]:  # the first may close amid subscribing
                break

    assert set(closed.values()) <= {0, 1}


class WithoutFlags(CcxtExchange):
    """As exchanges are whose sockets do not say that a candle is closed."""

    kline_ids = frozenset()


async def test_without_a_flag_a_candle_is_closed_once_the_next_has_begun() -> None:
    async with connected(kind=WithoutFlags) as (_, exchange):
        told = []
        async with aclosing(exchange.watch_candles([BTC], [H1])) as stream:
            async for candle in stream:
                told.append(candle)
                if sum(one.closed for one in told) == 2:
                    break

    first, second = (n for n, one in enumerate(told) if one.closed)
    assert told[second].open_ms == told[first].close_ms
    assert told[first - 1] == replace(told[first], closed=False)  # its last forming version
    assert {one.open_ms for one in told[first + 1 : second]} == {told[second].open_ms}


async def test_an_unknown_exchange_is_named_with_the_closest_that_is_known() -> None:
    with pytest.raises(UnknownExchangeError, match="binance"):
        CcxtExchange("binanse")


async def test_an_unknown_timeframe_is_named_with_those_of_the_exchange() -> None:
    async with connected() as (_, exchange):
        exchange._client.timeframes = {"1h": "1h"}
        now = await exchange.fetch_time()

        with pytest.raises(UnknownTimeframeError, match="1h"):
            await exchange.fetch_candles(BTC, Timeframe.M1, since=now, until=now)


async def test_a_429_tells_how_long_to_wait() -> None:
    async with connected() as (server, exchange):
        now = await exchange.fetch_time()
        await exchange.listings([BTC.symbol])
        server.faults.add(Fault(kind=FaultKind.STATUS_429))

        with pytest.raises(RateLimitedError) as caught:
            await exchange.fetch_candles(BTC, H1, since=now - 5 * H1.duration, until=now)

        assert caught.value.retry_after == timedelta(seconds=1)
        assert "\n" not in str(caught.value)


async def test_a_server_in_maintenance_is_unavailable() -> None:
    async with connected() as (server, exchange):
        now = await exchange.fetch_time()
        await exchange.listings([BTC.symbol])
        server.faults.add(Fault(kind=FaultKind.STATUS_503))

        with pytest.raises(ExchangeUnavailableError, match="unable to process"):
            await exchange.fetch_candles(BTC, H1, since=now - 5 * H1.duration, until=now)


async def test_an_exchange_that_cannot_be_reached_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = taken.getsockname()[1]
        exchange = CcxtExchange(
            "kraken", rest_url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}"
        )
        try:
            with pytest.raises(ExchangeUnavailableError, match=r"^kraken [^\n]+$"):
                await exchange.listings(["BTC/USD"])
        finally:
            await exchange.close()


async def test_no_task_is_left_when_a_watch_ends() -> None:
    async with connected() as (_, exchange):
        await exchange.listings([BTC.symbol])
        before = asyncio.all_tasks()
        async with aclosing(exchange.watch_candles([BTC], [H1])) as stream:
            await anext(stream)

        def left() -> set[asyncio.Task[object]]:
            return {task for task in asyncio.all_tasks() - before if "ccxt" in repr(task)}

        async with asyncio.timeout(60):
            while left():  # noqa: ASYNC110 - they tell nobody
                await asyncio.sleep(0.01)


async def test_a_watch_whose_end_is_cut_short_can_begin_again() -> None:
    async with connected() as (_, exchange):

        async def listen() -> None:
            async with aclosing(exchange.watch_candles([BTC], [H1])) as stream:
                async for _ in stream:
                    heard.set()

        for _ in range(3):
            heard = asyncio.Event()
            listening = asyncio.create_task(listen())
            spoken = asyncio.create_task(heard.wait())
            await asyncio.wait({spoken, listening}, return_when=asyncio.FIRST_COMPLETED)
            assert spoken.done()
            listening.cancel()
            await asyncio.sleep(0)  # it ends, and waits for its tasks
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def test_one_exchange_is_imported_without_the_others() -> None:
    program = (
        "import sys; from collectors.ccxt_import import exchange_class, exchange_ids;"
        "assert not [m for m in sys.modules if m.startswith('ccxt.')];"
        "assert exchange_class('binanceusdm')().id == 'binanceusdm';"
        "assert 'ccxt.pro.kraken' not in sys.modules; assert len(exchange_ids()) > 50"
    )

    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - our own words


async def test_every_request_draws_on_the_budget_at_its_own_cost() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    async with SimulatedExchange(SyntheticMarket(default_symbols(1)), Play(speed=7200)) as server:
        exchange = CcxtExchange(
            "binance",
            rest_url=f"http://127.0.0.1:{server.port}",
            ws_url=f"ws://127.0.0.1:{server.port}",
            budget=budget,
        )
        try:
            loading = asyncio.create_task(exchange.listings([BTC.symbol]))
            await asyncio.wait([loading])
            asking = asyncio.create_task(exchange.fetch_time())
            await asyncio.sleep(0)
            waited = clock.sleepers
            clock.advance(timedelta(seconds=2))
            await asyncio.wait([asking])
        finally:
            await exchange.close()

    assert waited == 1  # for what the listing had cost
    assert asking.exception() is None


async def test_a_pause_that_a_429_asks_for_is_the_budgets() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    async with SimulatedExchange(SyntheticMarket(default_symbols(1)), Play(speed=7200)) as server:
        exchange = CcxtExchange(
            "binance", rest_url=f"http://127.0.0.1:{server.port}", budget=budget
        )
        server.faults.add(Fault(kind=FaultKind.STATUS_429))
        try:
            with pytest.raises(RateLimitedError):
                await exchange.listings([BTC.symbol])
            resumed = asyncio.create_task(budget.resumed())
            await asyncio.sleep(0)
            waited = clock.sleepers
            clock.advance(timedelta(seconds=1))
            await resumed
        finally:
            await exchange.close()

    assert waited == 1
