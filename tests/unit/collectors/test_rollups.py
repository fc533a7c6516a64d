"""Longer candles from shorter ones: whole, exact, and checked against the exchange's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.backfill import Rejected
from collectors.collector import Collector
from collectors.gaps import Gap, GapState
from collectors.pacing import Pace
from collectors.rolled_up import RolledUp
from collectors.rollups import Rolling, all_rolled_up, child_of, rolled_up
from domain.errors import UsageError
from domain.events import Candle
from domain.market import Instrument, Timeframe, to_ms
from domain.trades import MadeOf
from tests.doubles import START, ManualClock
from tests.factories import BTC, candles
from tests.scripted_exchange import ScriptedExchange

M1, M5, M15, H1, H4, D1 = (
    Timeframe.M1,
    Timeframe.M5,
    Timeframe.M15,
    Timeframe.H1,
    Timeframe.H4,
    Timeframe.D1,
)
CHILDREN = candles(60, timeframe=M1)


def recorded(folder: Path, symbol: str, timeframe: Timeframe) -> list[Candle]:
    path = folder / "ohlcv" / f"binance_{symbol}_{timeframe}.parquet"
    if not path.exists():
        pytest.skip(f"no recorded candles in {path.parent}")
    rows = zip(*pq.read_table(path)[-6_000:].to_pydict().values(), strict=True)
    return [
        replace(
            CHILDREN[0],
            timeframe=timeframe,
            open_ms=open_ms,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
        )
        for open_ms, open_, high, low, close, volume in rows
    ]


@pytest.mark.parametrize("timeframe", [M15, H1, H4, D1])
def test_recorded_candles_of_5m_make_the_recorded_longer_ones(
    timeframe: Timeframe, shared_data: Path
) -> None:
    shorter = recorded(shared_data, "BTC-USDT", M5)
    own = {one.open_ms: one for one in recorded(shared_data, "BTC-USDT", timeframe)}

    made = all_rolled_up(shorter, timeframe)

    both = [(one, own[one.open_ms]) for one in made if one.open_ms in own]
    assert len(both) >= 19
    assert [values(one) for one, _ in both] == [values(other) for _, other in both]


def values(candle: Candle) -> tuple[float, ...]:
    return candle.open, candle.high, candle.low, candle.close, candle.volume


def test_volumes_are_added_as_decimals() -> None:
    made = rolled_up([replace(one, volume=0.1) for one in CHILDREN[:5]], M5)

    assert made is not None
    assert made.volume == 0.5
    assert sum([0.1] * 3) != 0.3


def test_it_is_confirmed_when_all_its_children_are() -> None:
    confirmed = [replace(one, confirmed=True) for one in CHILDREN[:5]]
    made = [rolled_up(one, M5) for one in (confirmed, [*confirmed[:4], CHILDREN[4]])]

    assert [one.confirmed for one in made if one is not None] == [True, False]
    assert all(one is not None and one.made_of is MadeOf.CANDLES for one in made)


@given(missing=st.sets(st.integers(0, 59)), flags=st.lists(st.booleans(), min_size=60, max_size=60))
def test_a_candle_comes_when_all_of_it_has_and_with_the_same_values(
    missing: set[int], flags: list[bool]
) -> None:
    """Flagged as closed, or only followed by the next: what comes is what REST would make."""
    told = [one for number, one in enumerate(CHILDREN) if number not in missing]
    rolling, came = Rolling(M5), []
    for one, flag in zip(told, flags, strict=False):
        came += rolling.add(replace(one, closed=False, close=one.open, volume=0.0))
        came += rolling.add(replace(one, closed=flag))
    last = replace(CHILDREN[-1], open_ms=CHILDREN[-1].close_ms, closed=False)
    came += rolling.add(last)

    assert came == all_rolled_up(told, M5)
    assert {one.open_ms for one in came} == {
        CHILDREN[first].open_ms
        for first in range(0, 60, 5)
        if not missing & set(range(first, first + 5))
    }


def test_the_longest_watched_part_is_the_child() -> None:
    assert child_of(H1, [M1, M15, H1, H4]) is M15
    with pytest.raises(UsageError, match="1m"):
        child_of(M1, [M5])


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


@dataclass
class Running:
    """A collector of 1m and of 5m that are rolled up."""

    clock: ManualClock
    exchange: ScriptedExchange
    events: list[Candle | Gap | Rejected] = field(default_factory=list)

    async def pass_minutes(self, count: int, *, silent: tuple[int, ...] = ()) -> None:
        for number in range(count):
            self.clock.advance(START + (number + 1) * M1.duration - self.clock.now())
            if number not in silent:
                self.exchange.send(CHILDREN[number])
            for _ in range(4):
                await settle()
                self.clock.advance(timedelta(seconds=1))
            await settle()

    def told(self, timeframe: Timeframe) -> list[Candle]:
        return [
            one for one in self.events if isinstance(one, Candle) and one.timeframe is timeframe
        ]


async def settle() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(own: list[Candle], *, offered: bool) -> AsyncIterator[Running]:
    clock = ManualClock(START)
    run = Running(clock, ScriptedExchange(clock))
    run.exchange.record(CHILDREN)
    run.exchange.record(own)

    async def out(event: Candle | Gap | Rejected) -> None:
        run.events.append(event)

    collector = Collector(
        RolledUp(run.exchange, [M5], watched=[M1, M5], offered=[M5] if offered else []),
        stored=Nothing(),
        out=out,
        check=lambda _: None,
        pace=Pace(clock=clock, wall=clock, random=np.random.default_rng(7)),
    )
    task = asyncio.create_task(collector.run([BTC], [M1, M5]))
    await settle()
    try:
        yield run
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("offered", [True, False])
async def test_what_is_rolled_up_is_confirmed_and_changes_nothing(*, offered: bool) -> None:
    own = all_rolled_up(CHILDREN, M5)
    async with running(own, offered=offered) as run:
        await run.pass_minutes(12)

    assert [values(one) for one in run.told(M5)] == [values(one) for one in own[:2]]
    assert {one.made_of for one in run.told(M5)} == {MadeOf.CANDLES}
    asked = {timeframe for _, timeframe, *_ in run.exchange.requests}
    assert (M5 in asked) is offered


async def test_the_exchanges_own_candle_counts_and_the_difference_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = [replace(one, volume=one.volume + 1.0) for one in all_rolled_up(CHILDREN, M5)]
    own = [replace(one, made_of=MadeOf.EXCHANGE) for one in other]
    async with running(own, offered=True) as run:
        await run.pass_minutes(7)

    first, second = run.told(M5)
    assert (first.made_of, second.made_of) == (MadeOf.CANDLES, MadeOf.EXCHANGE)
    assert second.volume == first.volume + 1.0
    assert caplog.text.count("tells another 5m candle than its shorter ones make") == 1


async def test_what_cannot_be_rolled_up_is_a_gap_that_rest_fills() -> None:
    async with running([], offered=False) as run:
        await run.pass_minutes(12, silent=(2, 3))

    assert [one.open_ms for one in run.told(M5)] == [
        to_ms(START) + number * M5.ms for number in range(2)
    ]
    states = {one.state for one in run.events if isinstance(one, Gap) and one.timeframe is M5}
    assert GapState.FILLED in states
