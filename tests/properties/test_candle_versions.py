"""Which version of a candle counts never depends on how the versions arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count, pairwise
from typing import Any, NamedTuple

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.store import database
from backend.store.candles import store_candles
from backend.store.instruments import Instruments
from domain.events import Candle, Source
from domain.market import Instrument, Timeframe

NOW = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = Timeframe.H1.ms
LATEST = """
SELECT open_time, open, high, low, close, volume, trades, event_time, confirmed, source,
    revision, row_hash
FROM candles WHERE instrument_id = $1 ORDER BY open_time
"""
HISTORY = """
SELECT open_time, close, volume, trades, event_time, confirmed, source, revision, row_hash
FROM candle_history WHERE instrument_id = $1 ORDER BY open_time, row_hash
"""
numbers = count()


class Store(NamedTuple):
    pool: asyncpg.Pool
    instruments: Instruments


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    pool = await database.connect_pool(database_url, size=1)
    yield Store(pool, Instruments(pool))
    await pool.close()


@st.composite
def versions(draw: st.DrawFn) -> dict[str, Any]:
    confirmed = draw(st.booleans())
    return {
        "open_ms": draw(st.integers(0, 1)) * HOUR,
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": draw(st.sampled_from([10.5, 11.0, 11.5])),
        "volume": draw(st.sampled_from([0.0, 1.0])),
        "trades": draw(st.sampled_from([None, 5, 6])),
        "event_ms": draw(st.sampled_from([0, 10, 20])),
        "confirmed": confirmed,
        "source": draw(st.sampled_from([Source.BACKFILL, Source.REPAIR]))
        if confirmed
        else Source.LIVE,
    }


async def tell(store: Store, told: list[dict[str, Any]], batches: list[int]) -> tuple[Any, Any]:
    """Store the versions, in batches of these sizes, for an instrument of their own."""
    instrument = Instrument("binance", f"N{next(numbers)}/USDT")
    candles = [Candle(instrument=instrument, timeframe=Timeframe.H1, **one) for one in told]
    start = 0
    for size in [*batches, len(candles)]:
        batch = candles[start : start + size]
        start += size
        if batch:
            await store_candles(store.pool, store.instruments, batch, known_at=NOW)
    number = int((await store.instruments.ids([instrument]))[0])
    return await store.pool.fetch(LATEST, number), await store.pool.fetch(HISTORY, number)


def expected(told: list[dict[str, Any]]) -> list[tuple[int, Any, int]]:
    """(open time, highest version's close and volume, its revision), by the definition."""

    def place(version: dict[str, Any]) -> tuple[Any, ...]:
        trades = -1 if version["trades"] is None else version["trades"]
        return (version["confirmed"], version["event_ms"], trades, version["volume"])

    found = []
    for open_ms in sorted({version["open_ms"] for version in told}):
        mine = [version for version in told if version["open_ms"] == open_ms]
        places = sorted({place(version) for version in mine})
        contents = [
            {(one["close"], one["volume"]) for one in mine if place(one) == where}
            for where in places
        ]
        if all(len(content) == 1 for content in contents):  # else the row hash decides
            line = [next(iter(content)) for content in contents]
            changes = sum(a != b for a, b in pairwise(line))
            found.append((open_ms, line[-1], 1 + changes))
    return found


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_any_arrival_of_the_same_versions_gives_the_same_tables(
    store: Store, data: st.DataObject
) -> None:
    told = data.draw(st.lists(versions(), min_size=1, max_size=7))
    repeated = told + data.draw(st.lists(st.sampled_from(told), max_size=3))
    shuffled = data.draw(st.permutations(repeated))
    batches = data.draw(st.lists(st.integers(1, 4), max_size=4))

    at_once = await tell(store, told, [])
    one_by_one = await tell(store, shuffled, batches)

    assert one_by_one == at_once
    latest = {row["open_time"].timestamp() * 1000: row for row in at_once[0]}
    for open_ms, content, revision in expected(told):
        row = latest[open_ms]
        assert ((row["close"], row["volume"]), row["revision"]) == (content, revision)


async def test_a_confirmation_that_changes_nothing_is_no_revision(store: Store) -> None:
    instrument = Instrument("binance", "BTC/USDT")
    live = Candle(
        instrument=instrument,
        timeframe=Timeframe.H1,
        open_ms=0,
        open=10.0,
        high=12.0,
        low=9.0,
        close=11.0,
        volume=1.0,
        event_ms=HOUR,
    )
    confirmed = Candle(
        instrument=instrument,
        timeframe=Timeframe.H1,
        open_ms=0,
        open=10.0,
        high=12.0,
        low=9.0,
        close=11.0,
        volume=1.0,
        confirmed=True,
        source=Source.REPAIR,
    )
    later = datetime(2024, 3, 2, tzinfo=UTC)

    first = await store_candles(store.pool, store.instruments, [live], known_at=NOW)
    second = await store_candles(store.pool, store.instruments, [confirmed], known_at=later)
    row = await store.pool.fetchrow("SELECT * FROM candles")

    assert [change.revision for change in first] == [1]
    assert second == []
    assert (row["confirmed"], row["revision"], row["known_at"]) == (True, 1, NOW)


async def test_the_same_version_from_two_sources_is_one_in_either_order(store: Store) -> None:
    version = {
        "open_ms": 0,
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 1.0,
        "confirmed": True,
    }
    told = [{**version, "source": source} for source in (Source.REPAIR, Source.BACKFILL)]

    forward = await tell(store, told, [1])
    backward = await tell(store, told[::-1], [1])

    assert forward == backward
    assert [row["source"] for row in forward[1]] == ["backfill"]


async def test_a_backfilled_candle_is_known_at_its_close(store: Store) -> None:
    candle = Candle(
        instrument=Instrument("binance", "BTC/USDT"),
        timeframe=Timeframe.H1,
        open_ms=0,
        open=10.0,
        high=12.0,
        low=9.0,
        close=11.0,
        volume=1.0,
        confirmed=True,
        source=Source.BACKFILL,
    )

    await store_candles(store.pool, store.instruments, [candle], known_at=NOW)

    known_at = await store.pool.fetchval("SELECT known_at FROM candles")
    assert known_at == datetime(1970, 1, 1, 1, tzinfo=UTC)


async def test_impossible_candles_are_set_aside_and_the_others_kept(store: Store) -> None:
    told = [
        Candle(
            instrument=Instrument("binance", "BTC/USDT"),
            timeframe=Timeframe.H1,
            open_ms=place * HOUR,
            open=10.0,
            high=high,
            low=9.0,
            close=10.0,
            volume=1.0,
        )
        for place, high in enumerate([12.0, float("nan"), 9.5, 12.0])
    ]

    changes = await store_candles(store.pool, store.instruments, told, known_at=NOW)

    assert [change.open_ms for change in changes] == [0, 3 * HOUR]
    assert await store.pool.fetchval("SELECT count(*) FROM candles") == 2
    details = await store.pool.fetch("SELECT detail FROM quarantine ORDER BY id")
    assert len(details) == 2
    assert "NOT NULL" in details[0]["detail"] or "not-null" in details[0]["detail"]
    assert "shape_check" in details[1]["detail"]
