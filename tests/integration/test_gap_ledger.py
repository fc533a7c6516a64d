"""The ledger in the database lists what the store lacks, and the auditor has it fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import asyncpg
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend import background
from backend.auditor import AUDIT_EVERY, Auditor
from backend.bus.memory import MemoryBus
from backend.feed import Feed, LiveEdge
from backend.store import chain, database
from backend.store.candles import store_candles
from backend.store.collected import CollectedCandles
from backend.store.gaps import GapLedger, Recorded
from backend.store.history import History
from backend.store.instruments import Instruments
from backend.store.stream_log import StreamEvent
from collectors.backfill import Rejected
from collectors.gaps import Cause, Gap, GapState
from collectors.pacing import Pace
from domain.events import Candle, CandleBatch, Source
from domain.market import Instrument, Listing, Timeframe, from_ms, to_ms
from domain.topics import CANDLES
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, candles
from tests.scripted_exchange import ScriptedExchange
from tests.tcp_proxy import TcpProxy

M1 = Timeframe.M1
MINUTE = M1.duration
STORED = 30  # minutes of history
NAMES = (BTC, ETH)
HISTORY = {
    name: candles(60, seed=seed, instrument=name, timeframe=M1) for seed, name in enumerate(NAMES)
}
NOW = START + STORED * MINUTE + timedelta(seconds=2)

_STORED = """
SELECT symbol, open_time, open, high, low, close, volume FROM candles
JOIN instruments USING (instrument_id) ORDER BY symbol, open_time
"""
_MISSING = """
SELECT symbol, from_time, to_time, state FROM ingest_gaps JOIN instruments USING (instrument_id)
WHERE state <> 'filled' ORDER BY symbol, from_time
"""

Hole = tuple[str, int, int]  # symbol, first minute, first minute that is there


@dataclass
class Store:
    pool: asyncpg.Pool
    instruments: Instruments
    ledger: GapLedger
    told: list[StreamEvent] = field(default_factory=list, repr=False)

    async def keep(self, some: Sequence[Candle], at: datetime) -> None:
        await store_candles(self.pool, self.instruments, some, known_at=at)

    async def keep_history(self, minutes: int = STORED) -> None:
        for name in NAMES:
            told = [replace(one, source=Source.BACKFILL) for one in HISTORY[name][:minutes]]
            await self.keep(told, NOW)

    async def delete(self, name: Instrument, minutes: Sequence[int]) -> None:
        await self.pool.execute(
            "DELETE FROM candles USING instruments WHERE symbol = $1"
            " AND candles.instrument_id = instruments.instrument_id AND open_time = ANY($2)",
            name.symbol,
            [START + minute * MINUTE for minute in minutes],
        )

    async def missing(self) -> list[Hole]:
        return [
            (row["symbol"], minute(row["from_time"]), minute(row["to_time"]))
            for row in await self.pool.fetch(_MISSING)
        ]

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.pool.fetch(_MISSING)]

    async def stored(self) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await self.pool.fetch(_STORED)]

    def auditor(
        self,
        clock: ManualClock,
        exchange: str = "binance",
        instruments: Sequence[Instrument] = NAMES,
    ) -> Auditor:
        pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(7))
        return Auditor(
            exchange=exchange,
            ledger=self.ledger,
            instruments=instruments,
            timeframes=[M1],
            pace=pace,
            publish=self.told.extend,
        )


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    pool = await database.connect_pool(database_url, size=3)
    instruments = Instruments(pool)
    yield Store(pool, instruments, GapLedger(pool, instruments))
    await pool.close()


def minute(moment: datetime) -> int:
    return (to_ms(moment) - to_ms(START)) // M1.ms


def holes(name: Instrument, minutes: Sequence[int]) -> list[Hole]:
    """The ranges that these minutes are."""
    edges = [one for one in sorted(minutes) if one - 1 not in minutes]
    ends = [one + 1 for one in sorted(minutes) if one + 1 not in minutes]
    return [(name.symbol, *span) for span in zip(edges, ends, strict=True)]


def exchange_has(minutes: int = STORED) -> list[tuple[object, ...]]:
    return [
        (name.symbol, from_ms(one.open_ms), one.open, one.high, one.low, one.close, one.volume)
        for name in NAMES
        for one in HISTORY[name][:minutes]
    ]


def notice(first: int, last: int, state: GapState, cause: Cause = Cause.JUMP) -> Gap:
    start = to_ms(START)
    return Gap(
        instrument=BTC,
        timeframe=M1,
        from_ms=start + first * M1.ms,
        to_ms=start + last * M1.ms,
        cause=cause,
        state=state,
    )


@dataclass
class Follower:
    """The live edge of a scripted exchange, whose ticks are stored as they come."""

    store: Store
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))

    async def until(self, reached: Callable[[], object]) -> None:
        """Let wall time pass until the store is as wanted."""
        async with asyncio.timeout(60):
            while not await reached():  # type: ignore[misc]
                self.clock.advance(timedelta(milliseconds=250))
                for _ in range(20):
                    await asyncio.sleep(0.0005)  # the database answers in real time

    async def run(self, exchange: ScriptedExchange, work: Callable[[], object]) -> None:
        pace = Pace(clock=self.clock, wall=self.clock, random=np.random.default_rng(7))
        feed = Feed(
            exchange=exchange,
            listings=tuple(Listing(instrument=name) for name in NAMES),
            timeframes=(M1,),
            pace=pace,
        )
        bus = MemoryBus()
        auditor = self.store.auditor(self.clock)
        await auditor.begin()
        edge = LiveEdge(
            feed=feed,
            bus=bus,
            stored=CollectedCandles(History(self.store.pool, self.store.instruments)),
            auditor=auditor,
            refused=_refuse,
            deadline=timedelta(milliseconds=500),
            history_bars=10,  # the collector looks at these; the rest is the auditor's
        )
        tasks = [
            asyncio.create_task(self._keep(bus, ready := asyncio.Event())),
            asyncio.create_task(edge.run(NAMES)),
        ]
        await ready.wait()
        try:
            await work()  # type: ignore[misc]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, bus: MemoryBus, ready: asyncio.Event) -> None:
        async with bus.subscribe(CANDLES, group="test") as events:
            ready.set()
            async for event in events:
                assert isinstance(event, CandleBatch)
                await self.store.keep(event.told or (), self.clock.now())


async def _refuse(rejected: Rejected) -> None:
    raise AssertionError(rejected)


deletions = st.dictionaries(
    st.sampled_from(NAMES), st.sets(st.integers(0, STORED - 1), min_size=1), min_size=1
)


@given(deleted=deletions)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_deleted_is_listed_exactly(
    store: Store, deleted: dict[Instrument, set[int]]
) -> None:
    await store.pool.execute("TRUNCATE candles, candle_revisions, ingest_gaps, candle_extents")
    await store.keep_history()
    auditor = store.auditor(ManualClock(NOW))
    await auditor.settle()
    assert await store.missing() == []

    for name, minutes in deleted.items():
        await store.delete(name, sorted(minutes))
    await auditor.settle()

    listed = [hole for name in sorted(deleted) for hole in holes(name, sorted(deleted[name]))]
    assert await store.missing() == listed
    assert await store.states() == ["open"] * len(listed)
    await store.keep_history()
    await auditor.settle()
    assert await store.missing() == []


@given(deleted=deletions)
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_was_deleted_while_it_runs_is_fetched_again(
    store: Store, deleted: dict[Instrument, set[int]]
) -> None:
    await store.pool.execute("TRUNCATE candles, candle_revisions, ingest_gaps, candle_extents")
    await store.keep_history()
    follower = Follower(store)
    exchange = ScriptedExchange(follower.clock)
    for name in NAMES:
        exchange.record(HISTORY[name][:STORED])

    async def whole() -> bool:
        return await store.stored() == exchange_has() and not await store.missing()

    async def at_ease() -> bool:
        return bool(exchange.requests) and follower.clock.now() > NOW + MINUTE / 4

    async def work() -> None:
        await follower.until(at_ease)
        for name, minutes in deleted.items():
            await store.delete(name, sorted(minutes))
        await follower.until(whole)

    store.told.clear()
    await follower.run(exchange, work)

    opened = {
        (row["symbol"], at)
        for row in (orjson.loads(one.payload) for one in store.told if one.event == "opened")
        for at in range(*(minute(datetime.fromisoformat(row[edge])) for edge in ("from", "to")))
    }
    assert {(name.symbol, at) for name, each in deleted.items() for at in each} == opened
    async with store.pool.acquire() as connection:
        assert await chain.verify(connection) is None


async def test_what_the_exchange_lacks_is_given_up_and_the_rest_is_filled(store: Store) -> None:
    await store.keep_history()
    await store.auditor(ManualClock(NOW)).settle()
    await store.delete(ETH, [4, 5, 6, 20])
    follower = Follower(store)
    exchange = ScriptedExchange(follower.clock)
    exchange.record(HISTORY[BTC][:STORED])
    exchange.record(one for at, one in enumerate(HISTORY[ETH][:STORED]) if at != 5)

    async def settled() -> bool:
        return await store.states() == ["unfillable"]

    await follower.run(exchange, lambda: follower.until(settled))

    assert await store.missing() == [(ETH.symbol, 5, 6)]
    assert await store.stored() == [one for one in exchange_has() if one[:2] != (
        ETH.symbol, START + 5 * MINUTE
    )]  # fmt: skip
    events = [event.event for event in store.told]
    assert events.count("unfillable") == 1
    assert events[0] == "opened"


async def test_what_closed_while_nothing_ran_is_listed_before_anything_is_fetched(
    store: Store,
) -> None:
    await store.keep_history()
    await store.auditor(ManualClock(NOW)).settle()
    later = ManualClock(NOW + 5 * MINUTE)

    await store.auditor(later).begin()

    assert await store.missing() == [(name.symbol, STORED, STORED + 5) for name in NAMES]
    assert await store.pool.fetchval("SELECT DISTINCT cause FROM ingest_gaps") == "start"


async def test_a_hole_is_filled_only_by_candles_in_the_store(store: Store) -> None:
    await store.keep([one for one in HISTORY[BTC] if one.open_ms != HISTORY[BTC][3].open_ms], NOW)
    ledger = store.ledger
    await ledger.record([notice(3, 4, GapState.FOUND), notice(3, 4, GapState.ASKED)], at=NOW)
    assert await store.states() == ["repairing"]

    said = await ledger.record([notice(3, 4, GapState.FILLED)], at=NOW)

    assert said.waiting == [notice(3, 4, GapState.FILLED)]
    assert (said.events, await store.states()) == ([], ["repairing"])
    await store.keep(HISTORY[BTC][3:4], NOW)
    stored = await ledger.record(said.waiting, at=NOW + MINUTE)
    assert stored.waiting == []
    assert [event.event for event in stored.events] == ["filled"]
    (row,) = await store.pool.fetch("SELECT state, attempts, filled_at FROM ingest_gaps")
    assert tuple(row) == ("filled", 1, NOW + MINUTE)


async def test_two_processes_that_tell_of_gaps_keep_one_chain(store: Store) -> None:
    await store.keep(HISTORY[BTC][9:10], NOW)
    other = GapLedger(store.pool, store.instruments)

    for number, ledger in enumerate((store.ledger, other, store.ledger)):
        await ledger.record([notice(number, number + 1, GapState.FOUND)], at=NOW)

    assert await store.missing() == [(BTC.symbol, 0, 3)]
    async with store.pool.acquire() as connection:
        assert await chain.verify(connection, "gaps") is None
        count = await connection.fetchval("SELECT count(*) FROM stream_events WHERE log = 'gaps'")
    assert count == 3


async def test_notices_whose_answer_is_lost_are_entered_and_told_once(
    store: Store, proxy: TcpProxy
) -> None:
    await store.keep([one for at, one in enumerate(HISTORY[BTC]) if at not in (3, 5)], NOW)
    found = [notice(3, 4, GapState.FOUND), notice(3, 4, GapState.ASKED)]
    async with a_ledger(proxy) as ledger:
        proxy.cut_after = b"COMMIT;"
        first = await entered(ledger, found)
        proxy.cut_after = b"COMMIT;"
        asked = await entered(ledger, [notice(3, 4, GapState.ASKED)])  # nothing is told of it
        later = await entered(ledger, [notice(5, 6, GapState.FOUND)])

    assert proxy.cuts == 2
    assert [one.offset for each in (first, asked, later) for one in each.events] == [1, 2]
    assert list(first.missing.values()) == list(asked.missing.values())
    rows = await store.pool.fetch("SELECT attempts FROM ingest_gaps ORDER BY from_time")
    assert [row["attempts"] for row in rows] == [2, 0]


async def test_events_in_doubt_are_told_before_those_of_another_record(
    store: Store, proxy: TcpProxy
) -> None:
    await store.keep(HISTORY[BTC][9:10], NOW)
    in_doubt = [notice(0, 1, GapState.FOUND), notice(0, 1, GapState.ASKED)]
    async with a_ledger(proxy) as ledger:
        proxy.cut_after = b"COMMIT;"
        with pytest.raises(database.CONNECTION_ERRORS):
            await ledger.record(in_doubt, at=NOW)
        await store.ledger.record([notice(4, 5, GapState.FOUND)], at=NOW)  # of another process
        other = await ledger.record([notice(2, 3, GapState.FOUND)], at=NOW)
        again = await ledger.record(in_doubt, at=NOW)

    assert [one.offset for one in other.events] == [1, 3]
    assert again.events == []
    attempts = await store.pool.fetch("SELECT attempts FROM ingest_gaps ORDER BY from_time")
    assert [row["attempts"] for row in attempts] == [1, 0, 0]


async def test_notices_whose_connection_is_lost_before_the_commit_are_entered_once(
    store: Store, proxy: TcpProxy
) -> None:
    await store.keep(HISTORY[BTC][9:10], NOW)
    async with a_ledger(proxy) as ledger:
        proxy.cut_after = b"COPY "
        said = await entered(ledger, [notice(3, 4, GapState.FOUND)])

    assert proxy.cuts == 1
    assert [one.offset for one in said.events] == [1]


@asynccontextmanager
async def a_ledger(proxy: TcpProxy) -> AsyncIterator[GapLedger]:
    """One whose connections go through the proxy, which has begun."""
    pool = await database.connect_pool(proxy.url, size=2)
    try:
        ledger = GapLedger(pool, Instruments(pool))
        await ledger.record([], at=NOW)  # its stream is entered
        yield ledger
    finally:
        pool.terminate()


async def entered(ledger: GapLedger, notices: Sequence[Gap]) -> Recorded:
    """Though the connection is lost, once."""
    try:
        return await ledger.record(notices, at=NOW)
    except database.CONNECTION_ERRORS:
        return await ledger.record(notices, at=NOW)


async def test_an_audit_that_fails_as_nobody_foresaw_is_made_again(store: Store) -> None:
    follower = Follower(store)
    exchange = ScriptedExchange(follower.clock)
    for name in NAMES:
        exchange.record(HISTORY[name][:STORED])
    await store.keep_history()

    async def go_on() -> None:
        idle = store.auditor(follower.clock, "kraken", ())  # whose audits all do well
        auditing = asyncio.create_task(idle.run(lambda _: None))
        await store.pool.execute("ALTER TABLE candle_extents RENAME TO away")
        await follower.until(lambda: said(["the audit of candles of binance"]))
        (first,) = background.troubles()
        until = follower.clock.now() + 5 * AUDIT_EVERY
        await follower.until(lambda: later_than(until))
        assert background.troubles() == [first]
        await store.pool.execute("ALTER TABLE away RENAME TO candle_extents")
        await follower.until(lambda: said([]))
        auditing.cancel()

    async def later_than(moment: datetime) -> bool:
        return follower.clock.now() > moment

    async def said(works: Sequence[str]) -> bool:
        return [one.reason.partition(" failed")[0] for one in background.troubles()] == works

    await follower.run(exchange, go_on)
    assert background.troubles() == []
