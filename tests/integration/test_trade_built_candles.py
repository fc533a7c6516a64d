"""Candles built from trades, with ccxt in front of the simulated exchange in wall time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta

import numpy as np
import pytest

from collectors.backfill import Rejected
from collectors.ccxt_exchange import CcxtExchange
from collectors.collector import Collector, CollectorSettings
from collectors.gaps import Gap, GapState
from collectors.pacing import Pace
from collectors.simulated.clock import ScaledClock
from collectors.simulated.faults import Fault, FaultKind
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.server import Play, SimulatedExchange
from collectors.trade_built import TradeBuilt
from collectors.trades import missing_numbers
from domain.events import Candle
from domain.market import Instrument, Timeframe, from_ms
from domain.trades import MadeOf, Trade

M5 = Timeframe.M5
DAY = timedelta(days=1)
SPEED = 300  # a candle of five minutes a second
NAMES = [Instrument("simulated", symbol) for symbol in default_symbols(2)]
BTC, ETH = NAMES


class WithoutCandles(CcxtExchange):
    """As an exchange that serves trades alone."""

    def fetches(self, timeframe: Timeframe) -> bool:
        del timeframe
        return False

    streams = fetches


class Nothing:
    """A store without candles."""

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[int]:
        return []

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        return []


class MarketClock:
    """The time of the simulated exchange."""

    def __init__(self, clock: ScaledClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return from_ms(self._clock.now_ms())

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds() / self._clock.speed)


class WallClock:
    """Time since the test began."""

    def now(self) -> datetime:
        return from_ms(int(asyncio.get_running_loop().time() * 1000))

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


@asynccontextmanager
async def connected(
    kind: type[CcxtExchange] = CcxtExchange,
) -> AsyncIterator[tuple[SimulatedExchange, CcxtExchange]]:
    market = SyntheticMarket(default_symbols(2), finest=Timeframe.M1)
    async with SimulatedExchange(market, Play(speed=SPEED, history=40)) as server:
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


async def test_trades_come_in_turn_and_rest_has_the_same() -> None:
    told: dict[Instrument, list[Trade]] = {BTC: [], ETH: []}
    async with connected() as (_, exchange):
        async with aclosing(exchange.watch_trades(NAMES)) as stream:
            async for trade in stream:
                told[trade.instrument].append(trade)
                if min(map(len, told.values())) > 20:
                    break
        answered = await exchange.fetch_trades(
            BTC, since=from_ms(told[BTC][0].time_ms), until=from_ms(told[BTC][20].time_ms)
        )

    assert [missing_numbers(trades) for trades in told.values()] == [[], []]
    assert list(answered.trades) == told[BTC][:20]


async def test_rest_tells_more_trades_than_one_page_has() -> None:
    async with connected(WithoutCandles) as (server, exchange):
        end_ms = server.clock.now_ms() // M5.ms * M5.ms
        span = {"since": from_ms(end_ms - 11 * 3_600_000), "until": from_ms(end_ms)}
        told = await exchange.fetch_trades(BTC, **span)
        built = await TradeBuilt(exchange).fetch_candles(BTC, M5, **span)
        served = await exchange.fetch_candles(BTC, M5, **span)

    assert len(told.trades) == 11 * 60 * 4
    assert missing_numbers(told.trades) == []
    assert [values(one) for one in built] == [values(one) for one in served]


async def test_lost_trades_are_a_gap_that_rest_fills_and_no_candle_is_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    candles: dict[tuple[Instrument, int], Candle] = {}
    gaps: list[Gap] = []
    enough = asyncio.Event()

    async def out(event: Candle | Gap | Rejected) -> None:
        assert not isinstance(event, Rejected)
        if isinstance(event, Gap):
            gaps.append(event)
            return
        candles[event.instrument, event.open_ms] = event
        if len(candles) >= 10:
            enough.set()

    async with connected(WithoutCandles) as (server, exchange):
        server.faults.add(Fault(kind=FaultKind.LOSE_TRADE, instrument="BTCUSDT", after=30))
        collector = Collector(
            TradeBuilt(exchange),
            stored=Nothing(),
            out=out,
            check=lambda _: None,
            pace=Pace(
                clock=MarketClock(server.clock),
                wall=WallClock(),
                random=np.random.default_rng(1),
                speed=SPEED,
            ),
            settings=CollectorSettings(close_grace=timedelta(milliseconds=300)),
        )
        task = asyncio.create_task(collector.run(NAMES, [M5]))
        try:
            async with asyncio.timeout(60):
                await enough.wait()
        finally:  # it would connect for ever, and the exchange wait for it to go
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        since = from_ms(min(open_ms for _, open_ms in candles))
        truth = {
            (name, one.open_ms): values(one)
            for name in NAMES
            for one in await exchange.fetch_candles(
                name, M5, since=since, until=since + timedelta(days=1)
            )
        }

    assert {key: values(one) for key, one in candles.items()} == {
        key: truth[key] for key in candles
    }
    assert {one.made_of for one in candles.values()} == {MadeOf.TRADES}
    btc = sorted(open_ms for name, open_ms in candles if name == BTC)
    assert btc == list(range(btc[0], btc[-1] + 1, M5.ms))
    assert server.faults.commands[0].acted == 1
    assert " of simulated:BTC/USDT did not come" in caplog.text
    assert GapState.FILLED in {one.state for one in gaps if one.instrument == BTC}


def values(candle: Candle) -> tuple[float, ...]:
    return (
        candle.open_ms,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        round(candle.volume, 8),
    )
