"""What is before a row: the same rows where it is forecast and where it is learnt from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from backend.learning.fits import ExamplesOrder, FitOrder, read_task
from backend.panel import Panel
from backend.plugins import NO_PLUGINS
from backend.store.candles import store_candles
from backend.wiring import Store, open_store
from domain.events import Candle, CandleBatch, FeatureBatch, Floats, Role, Source, Target
from domain.market import Instrument, Listing, from_ms, to_ms
from domain.past import Past
from services.features.feature_set import OHLCV
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitTask
from services.models.forecaster import Forecaster, Table
from services.models.walk_forward import SplitKind
from services.sentiment.feature_set import SENTIMENT
from tests.factories import candles
from tests.panel_life import H1, HISTORY, HORIZON, LIVE, Life, arrivals, expected, version

PAST = 5
Key = tuple[Instrument, int]  # whose row, of which close
numbers = count()


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


class Listener(Forecaster):
    """It notes which sequences it is asked about."""

    def __init__(self) -> None:
        super().__init__(kind="listener", target=Target.DIRECTION, horizon=HORIZON, version="1")
        self.past = PAST
        self.heard: dict[Key, Floats] = {}

    def predict_after(self, features: FeatureBatch, past: Past) -> Floats:
        table = replace(Table.of(features), past=past)
        asked = zip(features.instruments, stacked(table), strict=True)
        self.heard |= {(one, to_ms(features.as_of)): rows for one, rows in asked}
        return self.forecast(table)

    def forecast(self, table: Table) -> Floats:
        return np.full((len(table), 3), 1 / 3)


class Listening(Life):
    """After each batch, what was heard is compared with the store as it was known then."""

    def __init__(self, store: Store, exchange: str) -> None:
        super().__init__(store, exchange)
        self.listener = Listener()
        self.all_heard: dict[Key, Floats] = {}

    def seat(self, panel: Panel) -> None:
        for rooms in panel.rooms.values():
            rooms.predictor.seat(self.listener, Role.CHALLENGER)

    async def run(self, batches: list[CandleBatch]) -> None:
        for batch in batches:
            await super().run([batch])
            await self.compare()

    async def compare(self) -> None:
        heard, self.listener.heard = self.listener.heard, {}
        for (instrument, close_ms), rows in heard.items():
            known = await self.known(instrument, from_ms(close_ms), until=self.clock.now())
            assert np.array_equal(rows, known, equal_nan=True), (instrument, from_ms(close_ms))
        self.all_heard |= heard

    async def known(self, instrument: Instrument, as_of: datetime, *, until: datetime) -> Floats:
        closes = [as_of - back * H1.duration for back in range(PAST, -1, -1)]
        table = await self.store.history.rows_at(
            [instrument], H1, closes, feature_set=OHLCV.id, beside=SENTIMENT.id, until=until
        )
        rows = {ms: table.values[row] for row, ms in enumerate(table.as_of_ms.tolist())}
        nothing = np.full(len(table.columns), np.nan)
        return np.array([rows.get(to_ms(one), nothing) for one in closes])[:, : len(OHLCV.columns)]

    async def learnt(self) -> FitTask:
        """What a fit of a kind with a past would be given now."""
        rows = ExamplesOrder(
            database_url=self.store.url,
            exchange=self.exchange,
            timeframe=H1,
            horizon=HORIZON,
            feature_set=OHLCV,
            until=self.clock.now(),
            maximum_rows=10_000,
        )
        recipe = BUILT_IN.recipes["logistic.direction"]
        order = FitOrder(
            examples=rows,
            recipe=replace(recipe, parameters={**recipe.parameters, "past": PAST}),
            split=SplitKind.LEAN,
            seed=7,
            plugins=NO_PLUGINS,
        )
        return await asyncio.to_thread(read_task, order)


def stacked(table: Table) -> Floats:
    return table.sequences(OHLCV.columns, PAST).stacked


def walks_of(life: Life) -> list[list[Candle]]:
    return [
        candles(HISTORY + LIVE, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]


def by_key(task: FitTask) -> dict[Key, Floats]:
    """The sequences that are learnt from."""
    of = zip(task.examples.instruments, task.examples.as_of_ms.tolist(), strict=True)
    return dict(zip(of, stacked(Table.of(task.examples)), strict=True))


def right_sequence(rows: dict[Any, Any], key: Key) -> Floats:
    """Of a panel that never saw another candle than the right ones."""
    instrument, close_ms = key
    nothing = (None,) * len(OHLCV.columns)
    closes = [close_ms - back * H1.ms for back in range(PAST, -1, -1)]
    values = [rows.get((OHLCV.id, instrument.symbol, ms), (0, nothing))[1] for ms in closes]
    return np.array(values, dtype=np.float64)


@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plan=arrivals())
async def test_a_sequence_has_the_rows_that_were_known_in_whatever_order_candles_came(
    store: Store, plan: tuple[list[tuple[int, int, int, bool]], list[str]]
) -> None:
    life = Listening(store, f"exchange{next(numbers)}")
    await life.begin()
    life.listener.heard.clear()  # of history: what was then in the store is no more
    walks, (told, deeds) = walks_of(life), plan
    for hour in range(LIVE + 10):
        life.clock.advance(H1.duration - timedelta(seconds=hour and 2))
        for late in (False, True):
            await life.take(
                [
                    version(walks[instrument][tick], right=right)
                    for arrival, tick, instrument, right in told
                    if arrival == hour and (tick < arrival) == late
                ]
            )
            life.clock.advance(timedelta(seconds=1))
        deed = deeds[hour] if hour < LIVE else "wait"
        if deed == "settle":
            await life.revisions.settle()
        elif deed == "restart":
            await life.start()
            life.listener.heard.clear()
    await life.end()

    right, _ = expected(life)
    learnt = by_key(await life.learnt())
    assert learnt
    assert len(life.all_heard) > LIVE
    for key, rows in learnt.items():
        assert np.array_equal(rows, right_sequence(right, key), equal_nan=True)


async def test_what_is_served_is_what_is_learnt_after_holes_a_kill_and_a_join(store: Store) -> None:
    """One misses candles for good; ticks pass while nothing runs; another joins."""
    life = Listening(store, f"exchange{next(numbers)}")
    await life.begin()
    walks = walks_of(life)

    async def hours(first: int, last: int) -> None:
        for hour in range(first, last):
            life.clock.advance(H1.duration)
            told = [version(walk[hour], right=True) for walk in walks]
            del told[1 : 2 if hour in {2, 3} else 1]
            await life.take(told[::-1])  # who has just joined comes first: nobody waits for it
            life.clock.advance(timedelta(seconds=1))
        await life.run(life.section.due(life.clock.now()))

    await hours(0, 5)
    missed = [version(walk[hour], right=True) for hour in (5, 6) for walk in walks]
    life.clock.advance(2 * H1.duration)
    await store_candles(store.writers, store.instruments, missed, known_at=life.clock.now())
    life.told += missed
    await life.start()
    await life.compare()
    await hours(7, 8)
    newcomer = await joined(life, walks)
    await hours(8, LIVE)
    await life.end()

    learnt, heard = by_key(await life.learnt()), life.all_heard
    both = learnt.keys() & heard.keys()
    assert {one for one, _ in both} == {*life.instruments}
    assert len(both) > 3 * (LIVE - HORIZON)
    for key in both:
        assert learnt[key] == pytest.approx(heard[key], rel=0, abs=1e-9, nan_ok=True)
    holed = heard[life.instruments[1], walks[1][4].close_ms]
    assert np.isnan(holed).all(axis=1).tolist() == [False, False, False, True, True, False]
    assert not np.isnan(heard[newcomer, walks[0][8].close_ms]).all(axis=1).any()


async def joined(life: Listening, walks: list[list[Candle]]) -> Instrument:
    newcomer = Instrument(life.exchange, "DDD/USDT")
    walk = candles(HISTORY + LIVE, seed=7, instrument=newcomer)
    past = [replace(one, source=Source.BACKFILL, confirmed=True) for one in walk[10 : HISTORY + 8]]
    life.told += past
    store = life.store
    await store_candles(store.writers, store.instruments, past, known_at=life.clock.now())
    await store.instruments.watch(
        [Listing(instrument=newcomer)], since=life.clock.now(), added=True
    )
    working = asyncio.create_task(life.revisions.run())
    await life.revisions.take_in(newcomer, first=from_ms(past[0].close_ms))
    working.cancel()
    life.joined[newcomer] = life.clock.now()
    await store.instruments.join(newcomer, at=life.clock.now())
    life.revisions.joins((await store.instruments.membership(newcomer.exchange)).joined)
    life.instruments = (*life.instruments, newcomer)
    life.section.watch(life.instruments)
    walks.append(walk[HISTORY:])
    return newcomer
