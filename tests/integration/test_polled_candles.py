"""Coinbase streams no candles: the recorded ones come as they close, through ccxt's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson

from backend.exchanges import Exchanges
from backend.feed import Feed
from backend.settings import Settings
from collectors.allowance import allowance
from collectors.backfill import Rejected
from collectors.ccxt_exchange import CcxtExchange
from collectors.checks import reason
from collectors.collector import Collector
from collectors.gaps import Gap
from collectors.pacing import Pace
from collectors.polling import longest_round
from collectors.trade_built import TradeBuilt
from domain.events import Candle, Source
from domain.market import Instrument, Timeframe, from_ms
from tests import house
from tests.doubles import ManualClock
from tests.integration.test_recorded_history import CASES, Nothing, rows_of, spelled
from tests.served_payloads import Answer, served

H1 = Timeframe.H1
SECOND_MS = 1000
COST = timedelta(milliseconds=102)  # of a request, as ccxt describes it


async def test_recorded_candles_of_coinbase_come_as_they_close(shared_data: Path) -> None:
    case = CASES["coinbase"]
    time = {"data": {"iso": "", "epoch": 0}}
    files = {**case.answers, case.candles: case.origin}
    answers = {
        path: Answer((shared_data / "rest" / one).read_bytes() if isinstance(one, str) else one)
        for path, one in files.items()
    }
    answers["v2/time"] = Answer(time)
    told: asyncio.Queue[Candle | Gap | Rejected] = asyncio.Queue()
    async with served(answers) as server:
        exchange = CcxtExchange("coinbase", rest_url=server.rest_url, rate_limited=False)
        rows = rows_of(case, orjson.loads(answers[case.candles].body))
        first_ms = min(rows)
        clock = ManualClock(from_ms(first_ms + H1.ms // 2))

        def pass_to(moment_ms: int) -> None:
            time["data"]["epoch"] = moment_ms // SECOND_MS
            clock.advance(from_ms(moment_ms) - clock.now())

        pass_to(first_ms + H1.ms // 2)
        pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(1))
        collector = Collector(exchange, stored=Nothing(), out=told.put, check=reason, pace=pace)
        await exchange.listings([case.symbol])
        running = asyncio.create_task(collector.run([Instrument("coinbase", case.symbol)], [H1]))
        got = []
        try:
            while not clock.sleepers:  # noqa: ASYNC110 - until it listens
                await asyncio.sleep(0)
            for closed_ms in (first_ms + H1.ms, first_ms + 2 * H1.ms):
                pass_to(closed_ms + 2 * SECOND_MS)
                got.append(await told.get())
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await exchange.close()
        asked = [one for one in server.requests if "/candles" in one]

    candles = [one for one in got if isinstance(one, Candle)]
    assert {one.open_ms: spelled(one) for one in candles} == rows
    assert {(one.source, one.confirmed) for one in candles} == {(Source.LIVE, True)}
    assert told.empty()
    assert len(asked) <= 3  # one at the start, to see whether what is stored was revised


async def test_what_is_asked_for_at_a_close_is_said_and_ticks_wait_for_all_of_it(
    shared_data: Path,
) -> None:
    case = CASES["coinbase"]
    answers = {
        path: Answer((shared_data / "rest" / one).read_bytes() if isinstance(one, str) else one)
        for path, one in case.answers.items()
    }
    watch = {"exchanges": ["coinbase"], "symbols": ["BTC/USD", "BTC/USDC"], "timeframes": ["1h"]}
    async with served(answers) as server, AsyncExitStack() as stack:
        where = {"coinbase": {"rest_url": server.rest_url}}
        exchanges = Exchanges(settings=Settings.model_validate({"watch": watch, "exchange": where}))
        await exchanges.open(stack)
        (one,) = await exchanges.reach()
    clock = ManualClock()
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(1))
    feed = Feed(
        exchange=one.exchange,
        listings=one.listings,
        timeframes=(H1,),
        pace=pace,
        round=one.round,
    )

    assert [note for note in one.notes() if "each is asked for at its close" in note]
    assert feed.spread(H1) == one.round == longest_round(len(one.listings), COST)
    many = replace(feed, round=timedelta(hours=2))
    assert many.spread(H1) == timedelta(minutes=30)
    assert replace(many, exchange=TradeBuilt(one.client)).spread(H1) == timedelta(0)


def spoken(timeframes: Sequence[Timeframe], of: Sequence[Timeframe]) -> str:
    """`1m to 1d` of a run among `of`, else each, as the page of exchanges spells them."""
    run = [one for one in of if timeframes and timeframes[0].ms <= one.ms <= timeframes[-1].ms]
    if len(timeframes) > 1 and list(timeframes) == run:
        return f"{timeframes[0]} to {timeframes[-1]}"
    return " ".join(timeframes) or "–"


async def test_the_page_of_exchanges_says_what_ccxt_describes() -> None:
    rows = house.table("docs/exchanges.md", "## What each does by itself")
    described = []
    for name in [row[0] for row in rows]:
        exchange = CcxtExchange(name)
        served = [one for one in Timeframe if exchange.fetches(one)]
        streamed = [one for one in served if exchange.streams(one)]
        symbol = "BTC/USDT:USDT" if name == "binanceusdm" else "BTC/USDT"
        allowed = await allowance(name, symbol, served)
        await exchange.close()
        described.append(
            [
                name,
                spoken(streamed, served),
                " ".join(allowed.polled) or "–",
                " ".join(one for one in Timeframe if one not in served) or "–",
                str(allowed.page),
                f"{timedelta(minutes=1) / allowed.cost:.0f}",
                f"newest {allowed.newest}" if allowed.newest else "all",
            ]
        )
        assert [one for one in served if one not in streamed] == list(allowed.polled)

    assert {row[0] for row in rows} >= {"binance", "bybit", "coinbase", "kraken", "okx"}
    assert rows == described
