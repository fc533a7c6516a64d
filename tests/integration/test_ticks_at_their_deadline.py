"""A tick whose time is up is drawn then, whatever waits longer in another timeframe."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import numpy as np

from backend.auditor import Auditor
from backend.bus.memory import MemoryBus
from backend.feed import Feed, LiveEdge
from backend.store import database
from backend.store.gaps import GapLedger
from backend.store.instruments import Instruments
from collectors.backfill import Rejected
from collectors.pacing import Pace
from domain.events import CandleBatch
from domain.market import Instrument, Listing, Timeframe
from domain.topics import CANDLES
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, candles
from tests.integration.test_recorded_history import Nothing
from tests.scripted_exchange import ScriptedExchange

M1, M5 = Timeframe.M1, Timeframe.M5
CLOSE = START + 2 * M5.duration
DEADLINE = timedelta(milliseconds=250)
ROUND = timedelta(seconds=30)  # until all that is asked for at a close has been answered
STEP = timedelta(milliseconds=50)


async def test_a_streamed_tick_is_drawn_in_time_while_a_polled_one_waits(
    database_url: str,
) -> None:
    clock = ManualClock(CLOSE - timedelta(seconds=1))
    exchange = ScriptedExchange(clock)
    exchange.polled, exchange.flagged = {M5}, True
    streamed = {name: candles(10, instrument=name, timeframe=M1) for name in (BTC, ETH)}
    for name, count in ((BTC, 2), (ETH, 1)):  # one of the close
        exchange.record(streamed[name][:-1])
        exchange.record(candles(count, instrument=name, timeframe=M5))
    pool = await database.connect_pool(database_url, size=2)
    bus, drawn = MemoryBus(), list[CandleBatch]()
    edge = edge_of(exchange, clock, bus, GapLedger(pool, Instruments(pool)))
    tasks = [
        asyncio.create_task(keep(bus, drawn, ready := asyncio.Event())),
        asyncio.create_task(edge.run((BTC, ETH))),
    ]
    await ready.wait()
    try:
        await until(clock, CLOSE + timedelta(seconds=2))  # the polled candle is there
        exchange.send(streamed[BTC][-1])
        await until(clock, CLOSE + timedelta(seconds=2))
        before = [told(one) for one in drawn if one.as_of == CLOSE]
        await until(clock, CLOSE + timedelta(seconds=2) + DEADLINE)
        in_time = [told(one) for one in drawn if one.as_of == CLOSE]
        await until(clock, CLOSE + timedelta(seconds=3) + ROUND + DEADLINE)
        at_last = [told(one) for one in drawn if one.as_of == CLOSE]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await pool.close()

    assert before == []
    assert in_time == [(M1, (BTC,))]
    assert at_last == [(M1, (BTC,)), (M5, (BTC,))]


def told(batch: CandleBatch) -> tuple[Timeframe, tuple[Instrument, ...]]:
    return batch.timeframe, batch.instruments


def edge_of(
    exchange: ScriptedExchange, clock: ManualClock, bus: MemoryBus, ledger: GapLedger
) -> LiveEdge:
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    return LiveEdge(
        feed=Feed(
            exchange=exchange,
            listings=tuple(Listing(instrument=name) for name in (BTC, ETH)),
            timeframes=(M1, M5),
            pace=pace,
            round=ROUND,
        ),
        bus=bus,
        stored=Nothing(),
        auditor=Auditor(
            exchange="binance",
            ledger=ledger,
            instruments=(BTC, ETH),
            timeframes=(M1, M5),
            pace=pace,
            publish=lambda _: None,
        ),
        refused=refuse,
        deadline=DEADLINE,
        history_bars=1,
    )


async def keep(bus: MemoryBus, drawn: list[CandleBatch], ready: asyncio.Event) -> None:
    async with bus.subscribe(CANDLES, group="test") as events:
        ready.set()
        async for event in events:
            assert isinstance(event, CandleBatch)
            drawn.append(event)


async def refuse(rejected: Rejected) -> None:
    raise AssertionError(rejected)


async def until(clock: ManualClock, moment: datetime) -> None:
    """Let time pass, and everybody finish."""
    await settle()
    while clock.now() < moment:
        clock.advance(STEP)
        await settle()


async def settle() -> None:
    for _ in range(40):
        await asyncio.sleep(0)
