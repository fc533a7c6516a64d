"""What the record says of a stretch: funding that is due, candles as their ticks had them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import pytest

from backend.store import database
from backend.store.instruments import Instruments
from backend.store.ledger_events import Stretch, events
from backend.store.recorder import CrossSection, Recorder
from backend.store.sources import SourceStore
from domain.account import FundingBatch
from domain.events import CandleBatch
from domain.market import Instrument, Listing, Timeframe, to_ms
from domain.sources import Measurement, Metric
from tests.doubles import START
from tests.factories import candle_batches

SPOT, SWAP = Instrument("simulated", "BTC/USDT"), Instrument("simulated", "BTC/USDT:USDT")
HOUR = timedelta(hours=1)
PRICES = ("open", "high", "low", "close", "volume")
EIGHT = START + 8 * HOUR  # a settlement


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await database.connect_pool(database_url, size=2)
    yield opened
    await opened.close()


async def charged(
    pool: asyncpg.Pool,
    *rates: tuple[datetime, timedelta, float],
    timeframe: Timeframe = Timeframe.H1,
) -> dict[datetime, float]:
    """Close → what is due of the perpetual at it, where (measured, known after, rate) is told."""
    instruments = Instruments(pool)
    recorder = Recorder(pool, instruments)
    bars = timedelta(days=1) // timeframe.duration
    batches = candle_batches((SPOT, SWAP), bars, timeframe=timeframe)
    await recorder.commit_tick(batches, published_at=START + timedelta(days=1))
    told = [
        Measurement(
            instrument=SWAP,
            metric=Metric.FUNDING_RATE,
            event_ms=to_ms(at),
            known_ms=to_ms(at + delay),
            value=rate,
        )
        for at, delay, rate in rates
    ]
    await SourceStore(pool, instruments).measure(told)
    ids = await instruments.ids([SPOT, SWAP])
    names = (Listing(instrument=SPOT), Listing(instrument=SWAP))
    stretch = Stretch(
        exchange="simulated",
        timeframe=timeframe,
        since=START,
        until=START + timedelta(days=1),
        listings=dict(zip(ids.tolist(), names, strict=True)),
        funding=8 * HOUR,
        running={},
    )
    async with pool.acquire() as connection:
        found = await events(connection, stretch)
    due = [one for one in found if isinstance(one, FundingBatch)]
    assert all(one.instruments == (SWAP,) for one in due)
    return {one.as_of: float(one.rate[0]) for one in due}


async def test_a_settlement_is_due_at_the_next_close_at_the_rate_that_was_settled(
    pool: asyncpg.Pool,
) -> None:
    minute = timedelta(minutes=1)
    due = await charged(
        pool,
        (START, minute, 1e-4),
        (EIGHT - 3 * minute, minute, 7e-4),
        (EIGHT, minute, 2e-4),
        (EIGHT + 5 * minute, minute, 9e-4),
    )

    last = EIGHT + 9 * HOUR
    assert [*due] == [START + HOUR, EIGHT + HOUR, last]
    assert (due[START + HOUR], due[EIGHT + HOUR]) == (1e-4, 2e-4)
    assert due[last] == 9e-4  # the newest that was told of that settlement


async def test_a_rate_that_is_old_or_came_too_late_is_none(pool: asyncpg.Pool) -> None:
    due = await charged(pool, (START, 2 * HOUR, 1e-4), (START + HOUR / 2, HOUR, 3e-4))

    assert math.isnan(due[START + HOUR])
    assert due[EIGHT + HOUR] == 3e-4
    assert math.isnan(due[EIGHT + 9 * HOUR])


async def test_a_long_candle_has_several_settlements(pool: asyncpg.Pool) -> None:
    told = [(START + hours * HOUR, HOUR / 60, 1e-4 * hours) for hours in (0, 8, 16)]

    due = await charged(pool, *told, timeframe=Timeframe.D1)

    assert due == {START + timedelta(days=1): pytest.approx(24e-4)}


async def test_a_candle_counts_where_it_was_in_the_cross_section_or_came_before_the_next_close(
    pool: asyncpg.Pool,
) -> None:
    instruments = Instruments(pool)
    recorder = Recorder(pool, instruments)
    drawn, free = candle_batches((SPOT, SWAP), 2)
    section = CrossSection(
        exchange="simulated",
        timeframe=Timeframe.H1,
        as_of=drawn.as_of,
        instruments=(SPOT,),  # the other came after it was drawn
        arrived_at=drawn.as_of,
        deadline=True,
        stage_us={},
    )
    late = replace(free, known_at=free.as_of + HOUR)
    swapped = {name: getattr(late, name)[1:] for name in (*PRICES, "revision")}
    for_one = replace(late, instruments=(SWAP,), **swapped)
    first = {name: getattr(free, name)[:1] for name in (*PRICES, "revision")}
    await recorder.commit_tick([drawn], published_at=drawn.as_of, cross_section=section)
    await recorder.commit_tick(
        [replace(free, instruments=(SPOT,), **first)], published_at=free.as_of
    )
    await recorder.commit_tick([for_one], published_at=for_one.known_at)
    ids = await instruments.ids([SPOT, SWAP])
    names = (Listing(instrument=SPOT), Listing(instrument=SWAP))
    stretch = Stretch(
        exchange="simulated",
        timeframe=Timeframe.H1,
        since=START,
        until=free.as_of,
        listings=dict(zip(ids.tolist(), names, strict=True)),
        funding=8 * HOUR,
        running={},
    )

    async with pool.acquire() as connection:
        found = await events(connection, stretch)

    ticks = [one for one in found if isinstance(one, CandleBatch)]
    assert [(one.as_of, one.instruments) for one in ticks] == [
        (drawn.as_of, (SPOT,)),
        (free.as_of, (SPOT,)),
    ]
