"""What sources told by a close is settled when it is answered, whatever is stored meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from backend.clock import SystemClock
from backend.hearing import Hearing
from backend.panel import PanelKey
from backend.store import database, seals
from backend.store.sources import Dated
from backend.store.told import recall
from backend.wiring import Store, open_store
from domain.errors import LeaseLostError
from domain.events import FeatureBatch, SentimentBatch
from domain.market import EPOCH, MILLISECOND, Instrument, Timeframe, to_ms
from domain.sources import MARKET, Measurement, Metric, SourceState, SourceStatus
from services.features.feature_set import OHLCV
from services.sentiment.blend import NAME
from services.sentiment.features import SentimentFeatures
from tests.doubles import START, ManualClock

MINUTE = timedelta(minutes=1)
M1 = Timeframe.M1
ROUNDS = 60
PANELS = [PanelKey(exchange=name, timeframe=M1) for name in ("binance", "kraken", "okx")]
UP = (SourceState.OK, SourceState.STALE)
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as store:
        yield store


async def tell(dated: Dated, value: float) -> datetime:
    """Store a fact, and a state that is another each time; their date."""
    one = Measurement(
        instrument=MARKET,
        metric=Metric.FEAR_GREED,
        event_ms=to_ms(START - MINUTE),
        known_ms=to_ms(dated.moment),
        value=value,
    )
    await dated.store.measure([one])
    state = SourceStatus(source="fear_greed", state=UP[int(value) % 2], since=START, reason="")
    await dated.store.change([state], known_at=dated.moment)
    return dated.moment


Close = tuple[str, Timeframe, datetime, Sequence[str]]  # of a panel, with its symbols


def joined(told: SentimentFeatures, close: Close) -> SentimentBatch:
    """What counts as known at a close."""
    exchange, timeframe, as_of, symbols = close
    n = len(symbols)
    features = FeatureBatch(
        exchange=exchange,
        timeframe=timeframe,
        as_of=as_of,
        instruments=tuple(Instrument(exchange, symbol) for symbol in symbols),
        feature_set=OHLCV,
        values=np.zeros((n, len(OHLCV.columns))),
        coverage=np.ones(n),
        revision=np.ones(n, dtype=np.int64),
        candle_revision=np.ones(n, dtype=np.int64),
        known_at=as_of,
    )
    found = told.beside(features).told
    assert found is not None
    return found


def answers(told: SentimentFeatures, closes: Iterable[Close]) -> list[tuple[bytes, object]]:
    """Of each close the values as they are stored, to the bit, and the states."""
    found = [joined(told, close) for close in closes]
    return [(stored(one.values), dict(one.status)) for one in found]


def stored(values: object) -> bytes:
    """Numbers, all that are none alike."""
    numbers = np.array(values, dtype=float)
    return np.where(np.isnan(numbers), np.nan, numbers).tobytes()


def at(panel: PanelKey, close: datetime) -> Close:
    return panel.exchange, panel.timeframe, close, ("BTC/USDT", "ETH/USDT")


async def hears(store: Store, *, alone: bool = False) -> Hearing:
    clock = ManualClock(START)
    hearing = Hearing(store=store, clock=clock, wall=SystemClock(), alone=alone)
    await hearing.begin()
    return hearing


async def waits(pool: asyncpg.Pool) -> None:
    """Until somebody waits for a lock of ours."""
    async with asyncio.timeout(20):
        while not await pool.fetchval(WAITING):  # noqa: ASYNC110 - another session's
            await asyncio.sleep(0.01)


async def test_a_close_waits_for_facts_that_are_being_stored_and_has_them(store: Store) -> None:
    await store.instruments.ids([MARKET])
    hearing, clock, close = await hears(store), ManualClock(START), START + MINUTE

    async with store.sources.dated(clock) as dated:
        moment = await tell(dated, 41)
        before = asyncio.create_task(hearing.before(PANELS[0], close))
        await waits(store.readers)
        assert not before.done()
    await before

    assert moment == START < close
    assert np.nanmax(joined(hearing.told, at(PANELS[0], close)).values[:, 0]) == 41


async def test_facts_that_come_after_a_close_was_answered_are_dated_after_it(store: Store) -> None:
    await store.instruments.ids([MARKET])
    behind, close = ManualClock(START - 5 * MINUTE), START + MINUTE
    hearing = await hears(store)
    await hearing.before(PANELS[0], close)
    await hearing.before(PANELS[1], close - MINUTE)

    async with store.sources.dated(behind) as dated:
        moments = [await tell(dated, 41)]
    async with store.sources.dated(behind) as dated:
        moments.append(await tell(dated, 42))

    assert moments == [close + MILLISECOND, close + 2 * MILLISECOND]
    for alone in (False, True):
        again = await hears(store, alone=alone)
        assert np.isnan(joined(again.told, at(PANELS[0], close)).values).all()


@pytest.mark.parametrize("seed", [1, 2])
async def test_closes_say_what_the_tables_say_later_in_whatever_order_all_happens(
    store: Store, seed: int
) -> None:
    """Two workers and two who store, of whose clocks none agrees with another, at once."""
    await store.instruments.ids([MARKET])
    random = np.random.default_rng(seed)
    workers = [await hears(store), await hears(store)]
    closes: list[Close] = []
    live: list[tuple[bytes, object]] = []

    async def answer(hearing: Hearing, panel: PanelKey, close: datetime, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        await hearing.before(panel, close)
        closes.append(at(panel, close))
        live.extend(answers(hearing.told, closes[-1:]))

    async def store_one(at: datetime, value: float, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        async with store.sources.dated(ManualClock(at)) as dated:
            await tell(dated, value)

    for number in range(ROUNDS):
        close = START + number * MINUTE
        skews, delays = random.uniform(-90, 90, 2), random.uniform(0, 0.004, 5)
        work = [
            *(
                answer(workers[place % 2], panel, close, float(delays[place]))
                for place, panel in enumerate(PANELS)
                if random.random() < 0.8
            ),
            *(
                store_one(close + timedelta(seconds=skew), 2 * number + place, delays[3 + place])
                for place, skew in enumerate(skews.tolist())
            ),
            *(asyncio.to_thread(one.told.prepare) for one in workers),
        ]
        await asyncio.gather(*work)
    later, _ = await recall(store.readers, store.instruments, since=EPOCH, scorer=NAME)

    assert len({values for values, _ in live}) > ROUNDS / 2
    assert answers(later, closes) == live


async def test_one_process_asks_the_database_only_while_something_is_stored(store: Store) -> None:
    await store.instruments.ids([MARKET])
    hearing, clock = await hears(store, alone=True), ManualClock(START)

    await hearing.before(PANELS[0], START)
    assert await seals_of(store) == {}
    async with hearing.storing(clock) as dated:
        moment = await tell(dated, 41)
        before = asyncio.create_task(hearing.before(PANELS[0], START + MINUTE))
        await waits(store.readers)
    await before

    assert moment == START + MILLISECOND  # an answered close needs no seal here
    assert np.nanmax(joined(hearing.told, at(PANELS[0], START + MINUTE)).values[:, 0]) == 41
    await hearing.before(PANELS[0], START + 2 * MINUTE)
    assert await seals_of(store) == {"facts": moment, "binance|1m": START + MINUTE}


async def test_facts_of_which_nobody_said_that_they_are_stored_are_looked_for(
    store: Store,
) -> None:
    await store.instruments.ids([MARKET])
    hearing, clock = await hears(store, alone=True), ManualClock(START)
    reads = hearing.store.readers

    async def loses_its_answer() -> None:
        async with hearing.storing(clock) as dated:
            await tell(dated, 41)
            hearing.store = replace(hearing.store, readers=_Broken())

    with pytest.raises(ConnectionResetError):
        await loses_its_answer()
    hearing.store = replace(hearing.store, readers=reads)
    await hearing.before(PANELS[0], START + MINUTE)

    assert np.nanmax(joined(hearing.told, at(PANELS[0], START + MINUTE)).values[:, 0]) == 41
    await hearing.before(PANELS[0], START + 2 * MINUTE)
    assert (await seals_of(store))["binance|1m"] == START + MINUTE


class _Broken:
    """Readers whose connection is lost."""

    async def fetchval(self, *_: object) -> None:
        raise ConnectionResetError


async def test_a_close_that_is_not_sealed_any_more_is_not_committed(
    store: Store, database_url: str
) -> None:
    hearing = await hears(store)
    await hearing.before(PANELS[0], START)
    connection = await database.connect(database_url)
    try:
        await hearing.fence(PANELS[0], connection)
        await connection.execute("DELETE FROM source_seals")  # as after a crash
        with pytest.raises(LeaseLostError):
            await hearing.fence(PANELS[0], connection)
        await hearing.fence(PANELS[1], connection)
    finally:
        await connection.close()


async def test_who_hangs_while_it_stores_holds_no_close_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = seals._ALONE.replace(f"{seals.GIVEN_UP_S}s", "50ms")
    monkeypatch.setattr(seals, "_ALONE", given_up)
    hearing, clock = await hears(store), ManualClock(START)

    with pytest.raises(database.CONNECTION_ERRORS):
        async with store.sources.dated(clock):
            await hearing.before(PANELS[0], START + MINUTE)  # while it says nothing

    async with store.sources.dated(clock) as dated:
        assert dated.moment > START + MINUTE


async def seals_of(store: Store) -> dict[str, datetime]:
    rows = await store.readers.fetch("SELECT name, sealed_until FROM source_seals")
    return {row["name"]: row["sealed_until"] for row in rows}
