"""Hours of an exchange that misbehaves: no row is lost, none is wrong, and nothing grows."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest

from collectors.budget import Budget
from collectors.checks import reason
from collectors.collector import Collector
from collectors.pacing import Pace
from domain.market import Instrument, Timeframe, from_ms, to_ms
from tests import virtual_time
from tests.doubles import START
from tests.factories import candles
from tests.scripted_exchange import ScriptedExchange
from tests.scripted_faults import Script, drawn, until
from tests.soak import Account, Footprint, complaints, unheard
from tests.virtual_time import LoopClock

M1 = Timeframe.M1
QUIET = 10  # minutes without a fault, before things are counted
WARM_UP = 60  # minutes of faults before them
BLOCKS = 5_000  # of memory; a leak of one object a fault and series makes more in a day


class Soaked(NamedTuple):
    """What became of a collector under faults."""

    faults: int
    wrong: list[str]
    counts: Counter[str]
    before: Footprint
    after: Footprint


async def soak(minutes: int, instruments: int, *, seed: int) -> Soaked:
    """A collector that lives through `minutes` of faults, after an hour of them."""
    names = [Instrument("simulated", f"SIM{number:02d}/USDT") for number in range(instruments)]
    first, end = WARM_UP + QUIET, WARM_UP + QUIET + minutes + QUIET
    history = {
        name: candles(end + 1, seed=seed + place, instrument=name, timeframe=M1)
        for place, name in enumerate(names)
    }
    ours, theirs, wall = LoopClock(), LoopClock(), LoopClock()
    random = np.random.default_rng(seed)
    exchange = ScriptedExchange(theirs)
    account = Account(names, to_ms(START), end)
    collector = Collector(
        exchange,
        stored=account,
        out=account.take,
        check=reason,
        pace=Pace(clock=ours, wall=wall, random=np.random.default_rng(seed)),
        budget=Budget(wall),
    )
    script = Script(exchange, ours=ours, theirs=theirs, watch=collector.watch, random=random)
    plan = drawn(names, 0, WARM_UP, random) | drawn(names, first, end - QUIET, random)

    async def play(begin: int, last: int) -> Footprint:
        await script.play(history, range(begin, last), plan)
        await until(60 * last + 10.1)  # nobody wakes up at this moment
        exchange.requests.clear()
        return Footprint.now()

    running = asyncio.create_task(collector.run(names, [M1]))
    before = await play(0, first)
    after = await play(first, end)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    since, till = START, from_ms(to_ms(START) + end * M1.ms)
    wrong = list(account.wrongs)
    for name in names:
        told = await exchange.fetch_candles(name, M1, since=since, until=till)
        wrong += complaints(account, name, told, since_ms=to_ms(since), until_ms=to_ms(till))
    return Soaked(len(plan), wrong, account.counts, before, after)


def prove(soaked: Soaked) -> None:
    assert soaked.wrong == []
    assert soaked.after.tasks == soaked.before.tasks
    assert soaked.after.futures == soaked.before.futures
    assert soaked.after.blocks < soaked.before.blocks + BLOCKS


@pytest.mark.long
def test_an_hour_of_faults() -> None:
    with unheard():
        soaked = virtual_time.run(soak(60, 10, seed=1))
    prove(soaked)


@pytest.mark.soak
def test_a_day_of_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with unheard():
        soaked = virtual_time.run(soak(24 * 60, 50, seed=2))

    with capsys.disabled():
        sys.stdout.write(f"\n{soaked}\n")
    prove(soaked)
