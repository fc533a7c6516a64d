"""A panel over the store whose candles come as a test says, and what its rows ought to be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st

from backend.features import audit_rows
from backend.panel import Panel, PanelKey
from backend.revisions import CandleRooms, Revisions
from backend.runner import Runner
from backend.store.candles import store_candles
from backend.store.chain import verify
from backend.store.columns import CandlePanel, CandleSeries
from backend.store.snapshots import Snapshot
from backend.ticks import ticks
from backend.warmup import catch_up, snapshot_of
from backend.wiring import Store, register_candle_set
from collectors.cross_section import CrossSection
from collectors.versions import rank
from domain.classes import LabelKind
from domain.events import Candle, CandleBatch, Source
from domain.market import EPOCH, Instrument, Listing, Timeframe, to_ms
from services.features.kinds import RELEASE, CandleSet
from services.signals.policy import PolicySettings
from tests.doubles import START, ManualClock
from tests.factories import candles

H1 = Timeframe.H1
HISTORY, LIVE, HORIZON = 60, 12, 3
Plan = tuple[list[tuple[int, int, int, bool]], list[str]]  # (hour, tick, instrument, right); deeds
NAMES = ("AAA/USDT", "BBB/USDT", "CCC/USDT")
FEATURES = """
SELECT DISTINCT ON (feature_set, symbol, as_of) symbol, as_of, coverage, values, feature_set
FROM ml_features_ohlcv JOIN instruments USING (instrument_id) WHERE exchange = $1
ORDER BY feature_set, symbol, as_of, revision DESC
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


async def nothing(hour: int) -> None:
    """Is done before an hour."""
    del hour


@st.composite
def arrivals(draw: st.DrawFn) -> Plan:
    """(arrival, tick, instrument, right) of every version, and what happens after each hour."""
    told = []
    for tick in range(LIVE):
        for instrument in range(len(NAMES)):
            delay = draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2, 5, 9]))
            told.append((tick + delay, tick, instrument, True))
            if draw(st.sampled_from([False, False, False, True])):
                told.append((tick + draw(st.sampled_from([0, 0, 1, 3])), tick, instrument, False))
    deeds = st.sampled_from(["wait", "wait", "settle", "beside", "restart"])
    return draw(st.permutations(told)), draw(st.lists(deeds, min_size=LIVE, max_size=LIVE))


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

    kinds: tuple[LabelKind, ...] = ()  # of class labels
    sets: tuple[CandleSet, ...] = (RELEASE,)  # what candles are made into

    def __init__(self, store: Store, exchange: str) -> None:
        self.store, self.exchange = store, exchange
        self.instruments = tuple(Instrument(exchange, name) for name in NAMES)
        self.joined: dict[Instrument, datetime | None] = dict.fromkeys(self.instruments)
        self.clock = ManualClock(START + HISTORY * H1.duration + timedelta(seconds=1))
        self.section = CrossSection(exchange=exchange, timeframe=H1, instruments=self.instruments)
        self.told: list[Candle] = []

    async def start(self) -> None:
        for one in self.sets[1:]:
            await register_candle_set(self.store.writers, one, code_sha="of a test")
        panel = Panel(
            PanelKey(exchange=self.exchange, timeframe=H1),
            [HORIZON],
            clock=self.clock,
            policy=PolicySettings(),
            kinds=self.kinds,
            sets=self.sets,
        )
        self.seat(panel)
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

    def seat(self, panel: Panel) -> None:
        """Give models a place before it catches up."""

    async def begin(self) -> None:
        """With a history."""
        for seed, one in enumerate(self.instruments):
            past = candles(HISTORY, seed=seed, instrument=one)
            self.told += [replace(c, source=Source.BACKFILL, confirmed=True) for c in past]
        now = self.clock.now()
        listings = [Listing(instrument=one) for one in self.instruments]
        await self.store.instruments.watch(listings, since=START)
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
        # Moments of one that stands are told apart by milliseconds ahead of it.
        self.clock.advance(timedelta(seconds=1))

    async def live(
        self, plan: Plan, before: Callable[[int], Awaitable[None]] = nothing
    ) -> set[tuple[Any, ...]]:
        """Take candles as a plan of `arrivals` has them; what was said meanwhile.

        Args:
            plan: who tells what when, and what is done at the end of each hour; `beside` is
                done while the candles of the next one come.
            before: is awaited as an hour begins.
        """
        walks = [
            candles(HISTORY + LIVE, seed=seed + 100, instrument=one)[HISTORY:]
            for seed, one in enumerate(self.instruments)
        ]
        told, deeds = plan
        said: set[tuple[Any, ...]] = set()
        settling: list[asyncio.Task[None]] = []
        for hour in range(LIVE + 10):
            await before(hour)
            self.clock.advance(H1.duration - timedelta(seconds=hour and 2))
            for late in (False, True):
                await self.take(
                    [
                        version(walks[instrument][tick], right=right)
                        for arrival, tick, instrument, right in told
                        if arrival == hour and (tick < arrival) == late
                    ]
                )
                self.clock.advance(timedelta(seconds=1))
            said |= set(await self.fetch(SAID))
            deed = deeds[hour] if hour < LIVE else "wait"
            while settling:
                await settling.pop()
            if deed == "beside":
                settling = [asyncio.create_task(self.revisions.settle())]
            elif deed == "settle":
                await self.revisions.settle()
            elif deed == "restart":
                await self.start()
        return said

    async def check(self, said: set[tuple[Any, ...]]) -> None:
        """The newest rows are the right ones, all were, and what was `said` stays."""
        await self.end()
        features, labels = expected(self)
        stored = {
            (feature_set, symbol, to_ms(as_of)): (coverage, tuple(values))
            for symbol, as_of, coverage, values, feature_set in await self.fetch(FEATURES)
        }
        assert stored == features
        known = {(row[0], to_ms(row[1])): answers(*row[2:]) for row in await self.fetch(LABELS)}
        assert {k: row for k, row in known.items() if k in labels} == labels
        assert all(row == (None,) * 5 for k, row in known.items() if k not in labels)
        assert said <= set(await self.fetch(SAID))
        async with self.store.readers.acquire() as connection:
            assert await verify(connection) is None
            audit = await audit_rows(connection, count=60, seed=7, since=EPOCH, sets=self.sets)
        wrong = (*audit.differences, *audit.told_differences)
        assert not wrong, "\n".join(map(str, wrong))
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
        (batch.feature_set.id, one.symbol, to_ms(batch.as_of)): (
            batch.coverage[i],
            answers(*batch.values[i]),
        )
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


def version(candle: Candle, *, right: bool) -> Candle:
    """The candle as it holds in the end, or as it was told wrongly at first."""
    if right:
        return replace(candle, event_ms=2, confirmed=True)
    return replace(candle, event_ms=1, close=candle.low, volume=candle.volume * 2)
