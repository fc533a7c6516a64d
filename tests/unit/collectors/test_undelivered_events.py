"""While nobody takes what a collector tells, it keeps a bounded part of it, and loses nothing."""

from __future__ import annotations

import asyncio

import numpy as np

from collectors.collector import Collector, CollectorSettings
from collectors.pacing import Pace
from domain.events import Candle
from domain.market import Timeframe, to_ms
from tests.doubles import START
from tests.factories import BTC, ETH, candles
from tests.scripted_exchange import ScriptedExchange
from tests.soak import Account, complaints
from tests.unit.collectors.test_collector import check
from tests.virtual_time import LoopClock, run

M1 = Timeframe.M1
MINUTES, AWAY_FROM, AWAY_TO = 400, 20, 320
MOST = 16  # events that wait
NAMES = (BTC, ETH)
BESIDE = 8  # events of what was under way when the last one found room


class Patient(Account):
    """Takes nothing while the store is away."""

    there = asyncio.Event()

    async def take(self, event: object) -> None:
        await self.there.wait()
        await super().take(event)  # type: ignore[arg-type]  # of a collector


async def hours(*, streamed: bool) -> tuple[Account, int]:
    """Some hours, of which the store is away for most; the account, and the most that waited."""
    clock = LoopClock()
    exchange = ScriptedExchange(clock)
    if not streamed:
        exchange.polled.add(M1)
    history = {one: candles(MINUTES, seed=7, instrument=one, timeframe=M1) for one in NAMES}
    account = Patient(NAMES, to_ms(START), MINUTES)
    account.there = asyncio.Event()
    account.there.set()
    pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
    settings = CollectorSettings(undelivered=MOST)
    collector = Collector(
        exchange, stored=account, out=account.take, check=check, pace=pace, settings=settings
    )
    running = asyncio.create_task(collector.run(NAMES, [M1]))
    most = 0
    for minute in range(MINUTES - 1):
        if minute == AWAY_FROM:
            account.there.clear()
        if minute == AWAY_TO:
            account.there.set()
        told: list[Candle] = [history[one][minute] for one in NAMES]
        await asyncio.sleep(60)
        exchange.record(told)
        if streamed and (minute < AWAY_FROM or minute >= AWAY_TO):
            exchange.send(*told)
        most = max(most, collector.undelivered)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for one in NAMES:
        end = to_ms(START) + (MINUTES - 2) * M1.ms
        right = [each for each in history[one] if each.open_ms < end]
        since = to_ms(START) + M1.ms
        account.wrongs += complaints(account, one, right[1:], since_ms=since, until_ms=end)
    return account, most


def test_what_a_stream_missed_meanwhile_comes_once_there_is_room() -> None:
    account, most = run(hours(streamed=True))

    assert account.wrongs == []
    assert MOST <= most <= MOST + BESIDE


def test_what_is_asked_for_at_each_close_waits_for_room_too() -> None:
    account, most = run(hours(streamed=False))

    assert account.wrongs == []
    assert MOST <= most <= MOST + BESIDE
