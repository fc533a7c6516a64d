"""However candles come, are revised or fill holes: the newest rows follow from candles alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backend.panel import Panel, PanelKey
from backend.revisions import CandleRooms, Revisions
from backend.runner import Runner, TickRecorder
from backend.store.candles import store_candles
from backend.store.chain import verify
from backend.store.columns import CandlePanel, CandleSeries
from backend.store.snapshots import Snapshot
from backend.ticks import ticks
from backend.warmup import catch_up, snapshot_of
from backend.wiring import Store, open_store
from collectors.cross_section import CrossSection
from collectors.versions import rank
from domain.events import Candle, CandleBatch, Source
from domain.market import Instrument, Timeframe, from_ms, to_ms
from services.signals.policy import PolicySettings
from tests.doubles import START, ManualClock
from tests.factories import candles

H1 = Timeframe.H1
HISTORY, LIVE, HORIZON = 60, 12, 3
NAMES = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
FEATURES = """
SELECT DISTINCT ON (symbol, as_of) symbol, as_of, coverage, values
FROM ml_features_ohlcv JOIN instruments USING (instrument_id) WHERE exchange = $1
ORDER BY symbol, as_of, revision DESC
"""
LABELS = """
SELECT DISTINCT ON (symbol, as_of) symbol, as_of, outcome, weight, log_return,
    realized_volatility, uniqueness
FROM ml_labels JOIN instruments USING (instrument_id) WHERE exchange = $1
ORDER BY symbol, as_of, revision DESC
"""
SAID = """
SELECT p::text FROM ml_predictions AS p JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND role = 'champion'
"""
FEATURES_OF_OTHERS = FEATURES.replace("= $1", "= $1 AND symbol <> 'DDD/USDT'")
LABELS_OF_OTHERS = LABELS.replace("= $1", "= $1 AND symbol <> 'DDD/USDT'")
LAST_SAID = """
SELECT symbol, max(as_of) FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND role = 'champion' AND origin = 'live'
GROUP BY symbol
"""
numbers = count()


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


class Watch:
    """An observer that keeps the panel's state often, and passes on what concerns revisions."""

    def __init__(self, revisions: Revisions) -> None:
        self.revisions = revisions
        self.ticks = 0

    def seated(self, changes: object) -> None:
        assert not changes

    def states(self, as_of: datetime) -> Sequence[Snapshot]:
        self.ticks += 1
        if self.ticks % 3 or self.revisions.due:
            return ()
        return (snapshot_of(self.revisions.panel, as_of),)

    def past(self, candles: CandleBatch) -> Sequence[Snapshot]:
        return (self.revisions.note(candles.as_of),)

    async def after_tick(self, candles: CandleBatch) -> None:
        return


class Life:
    """One panel over the store, which may be killed and started again."""

    def __init__(self, store: Store, exchange: str) -> None:
        self.store, self.exchange = store, exchange
        self.instruments = tuple(Instrument(exchange, name) for name in NAMES)
        self.joined: dict[Instrument, datetime | None] = dict.fromkeys(self.instruments)
        self.clock = ManualClock(START + HISTORY * H1.duration)
        self.section = CrossSection(exchange=exchange, timeframe=H1, instruments=self.instruments)
        self.told: list[Candle] = []

    async def start(self) -> None:
        panel = Panel(
            PanelKey(exchange=self.exchange, timeframe=H1),
            [HORIZON],
            clock=self.clock,
            policy=PolicySettings(),
        )
        self.revisions = Revisions(
            panel=panel,
            joined=dict(self.joined),
            store=self.store,
            clock=self.clock,
            wall=self.clock,
        )
        await catch_up(self.revisions, since=START, report=lambda done, total: None)
        self.runner = Runner(
            panel=panel,
            recorder=self.store.recorder,
            publish=lambda events: None,
            clock=self.clock,
            wall=self.clock,
            observer=Watch(self.revisions),
            turn=self.revisions.turn,
        )

    async def begin(self) -> None:
        """With a history."""
        for seed, one in enumerate(self.instruments):
            past = candles(HISTORY, seed=seed, instrument=one)
            self.told += [replace(c, source=Source.BACKFILL, confirmed=True) for c in past]
        now = self.clock.now()
        await store_candles(self.store.writers, self.store.instruments, self.told, known_at=now)
        await self.start()

    async def take(self, told: list[Candle]) -> None:
        self.told += told
        await self.run(self.section.due(self.clock.now()))
        for candle in told:
            await self.run(self.section.add(candle, arrived=self.clock.now()))

    async def run(self, batches: list[CandleBatch]) -> None:
        for batch in batches:
            await self.runner.on_candles(replace(batch, known_at=self.clock.now()))

    async def end(self) -> None:
        await self.run(self.section.flush(self.clock.now()))
        await self.revisions.settle()

    async def check(self, said: set[tuple[Any, ...]]) -> None:
        """The newest rows are the right ones, and what was `said` stays."""
        await self.end()
        features, labels = expected(self)
        stored = {
            (symbol, to_ms(as_of)): (coverage, tuple(values))
            for symbol, as_of, coverage, values in await self.fetch(FEATURES)
        }
        assert stored == features
        known = {(row[0], to_ms(row[1])): answers(*row[2:]) for row in await self.fetch(LABELS)}
        assert {k: row for k, row in known.items() if k in labels} == labels
        assert all(row == (None,) * 5 for k, row in known.items() if k not in labels)
        assert said <= set(await self.fetch(SAID))
        async with self.store.readers.acquire() as connection:
            assert await verify(connection) is None
        assert await self.store.readers.fetch("SELECT source, payload::text FROM quarantine") == []
        assert not self.revisions.due

    async def fetch(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.store.readers.fetch(query, self.exchange)]


def answers(*values: float | None) -> tuple[float | None, ...]:
    return tuple(None if value is None or np.isnan(value) else float(value) for value in values)


def expected(life: Life) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Features and labels of a panel that never saw another candle than the right ones."""
    latest: dict[tuple[Instrument, int], Candle] = {}
    for one in life.told:
        key = (one.instrument, one.open_ms)
        if key not in latest or rank(one) > rank(latest[key]):
            latest[key] = one
    series = []
    for instrument in life.instruments:
        ours = sorted(
            (c for c in latest.values() if c.instrument == instrument), key=lambda c: c.open_ms
        )
        table = np.array([(c.open, c.high, c.low, c.close, c.volume) for c in ours]).T
        names = ("open", "high", "low", "close", "volume")
        series.append(
            CandleSeries(
                instrument=instrument,
                open_ms=np.array([c.open_ms for c in ours]),
                revision=np.ones(len(ours), dtype=np.int64),
                **dict(zip(names, table, strict=True)),
            )
        )
    rooms = CandleRooms(life.revisions.panel)
    panel = CandlePanel.of(series, H1)
    walked = rooms.walk(ticks(panel, exchange=life.exchange, joined=life.joined))
    features = {
        (one.symbol, to_ms(batch.as_of)): (batch.coverage[i], answers(*batch.values[i]))
        for batch in walked.features
        for i, one in enumerate(batch.instruments)
    }
    labels = {
        (one.symbol, int(batch.as_of_ms[i])): answers(
            batch.outcome[i],
            batch.weight[i],
            batch.log_return[i],
            batch.realized_volatility[i],
            batch.uniqueness[i],
        )
        for batch in walked.labels
        for i, one in enumerate(batch.instruments)
    }
    return features, labels


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[tuple[int, int, int, bool]], list[str]]:
    """(arrival, tick, instrument, right) of every version, and what happens after each hour."""
    told = []
    for tick in range(LIVE):
        for instrument in range(len(NAMES)):
            delay = draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2, 5, 9]))
            told.append((tick + delay, tick, instrument, True))
            if draw(st.sampled_from([False, False, False, True])):
                told.append((tick + draw(st.sampled_from([0, 0, 1, 3])), tick, instrument, False))
    deeds = st.sampled_from(["wait", "wait", "settle", "restart"])
    return draw(st.permutations(told)), draw(st.lists(deeds, min_size=LIVE, max_size=LIVE))


@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],  # a plan is read more easily than it is shrunk
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plan=arrivals())
async def test_the_newest_rows_follow_from_the_candles_in_whatever_order_they_came(
    store: Store, plan: tuple[list[tuple[int, int, int, bool]], list[str]]
) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    walks = [
        candles(HISTORY + LIVE, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]
    told, deeds = plan
    said: set[tuple[Any, ...]] = set()
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
        said |= set(await life.fetch(SAID))
        deed = deeds[hour] if hour < LIVE else "wait"
        if deed == "settle":
            await life.revisions.settle()
        elif deed == "restart":
            await life.start()
    await life.check(said)


async def test_a_hole_that_is_filled_while_nothing_runs_is_made_good_at_the_start(
    store: Store,
) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    walks = [
        candles(HISTORY + LIVE, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]
    missing = version(walks[1][4], right=True)
    for hour in range(LIVE):
        life.clock.advance(H1.duration)
        told = [version(walk[hour], right=True) for walk in walks]
        await life.take([one for one in told if one != missing])
        life.clock.advance(timedelta(seconds=1))
    said = set(await life.fetch(SAID))
    void = await life.fetch(LABELS)

    life.told.append(missing)
    await store_candles(store.writers, store.instruments, [missing], known_at=life.clock.now())
    await life.start()

    assert [row for row in void if row[4] is None]
    await life.check(said)


class Turn(asyncio.Lock):
    """A panel's turn that says when somebody has to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = asyncio.Event()

    async def acquire(self) -> Literal[True]:
        if self.locked():
            self.wanted.set()
        return await super().acquire()


@dataclass
class HeldBack:
    """Commits a tick only when somebody waits for its end."""

    recorder: TickRecorder
    turn: Turn

    async def commit_tick(self, *args: Any, **kwargs: Any) -> Any:
        await self.turn.wanted.wait()
        return await self.recorder.commit_tick(*args, **kwargs)

    async def commit_learning(self, *args: Any, **kwargs: Any) -> Any:
        return await self.recorder.commit_learning(*args, **kwargs)


async def test_a_candle_that_is_on_its_way_to_the_store_is_not_passed_by(store: Store) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    life.revisions.turn = life.runner.turn = turn = Turn()
    walks = [
        candles(HISTORY + LIVE, seed=seed + 100, instrument=one)[HISTORY:]
        for seed, one in enumerate(life.instruments)
    ]
    first, second = (version(walks[1][hour], right=True) for hour in (3, 5))
    for hour in range(LIVE):
        life.clock.advance(H1.duration)
        told = [version(walk[hour], right=True) for walk in walks]
        await life.take([one for one in told if one not in {first, second}])
        life.clock.advance(timedelta(seconds=1))
    await life.take([first])

    life.runner.recorder = HeldBack(store.recorder, turn)
    passing = asyncio.create_task(life.revisions.settle())
    await asyncio.sleep(0)  # it has seen what is to be done, and reads
    await life.take([second])
    await passing

    await life.check(set(await life.fetch(SAID)))


async def test_an_instrument_that_joins_changes_nothing_of_the_others(store: Store) -> None:
    life = Life(store, f"exchange{next(numbers)}")
    await life.begin()
    newcomer = Instrument(life.exchange, "DDD/USDT")
    begins = 10  # candles after the others
    walks = {
        one: candles(HISTORY + LIVE, seed=seed + 100, instrument=one)
        for seed, one in enumerate((*life.instruments, newcomer))
    }

    async def hours(first: int, last: int) -> None:
        for hour in range(HISTORY + first, HISTORY + last):
            life.clock.advance(H1.duration)
            await life.take([version(walks[one][hour], right=True) for one in life.instruments])
            life.clock.advance(timedelta(seconds=1))

    await hours(0, 4)
    before = await life.fetch(FEATURES), await life.fetch(LABELS)
    said = set(await life.fetch(SAID))
    past, newest = walks[newcomer][begins : HISTORY + 3], walks[newcomer][HISTORY + 3]
    life.told += [replace(one, source=Source.BACKFILL, confirmed=True) for one in past]
    await store_candles(
        store.writers, store.instruments, life.told[-len(past) :], known_at=life.clock.now()
    )
    working = asyncio.create_task(life.revisions.run())
    await life.revisions.take_in(newcomer, first=from_ms(past[0].close_ms))
    working.cancel()
    life.joined[newcomer] = life.clock.now()

    assert life.revisions.joins(newcomer, life.clock.now())
    assert (await life.fetch(FEATURES_OF_OTHERS), await life.fetch(LABELS_OF_OTHERS)) == before
    assert len(await life.fetch(FEATURES)) == len(before[0]) + len(past)

    life.instruments = (*life.instruments, newcomer)
    life.section.watch(life.instruments)
    await life.take([version(newest, right=True)])
    last = {row[0]: row[1] for row in await life.fetch(LAST_SAID)}
    assert last["DDD/USDT"] == last["AAA/USDT"] == from_ms(newest.close_ms)
    await hours(4, 8)
    await life.start()
    await hours(8, LIVE)
    await life.check(said)


def version(candle: Candle, *, right: bool) -> Candle:
    """The candle as it holds in the end, or as it was told wrongly at first."""
    if right:
        return replace(candle, event_ms=2, confirmed=True)
    return replace(candle, event_ms=1, close=candle.low, volume=candle.volume * 2)
