"""Sources where rooms run apart: one process asks them, all workers join what they told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from backend.apart import Apart
from backend.api.status import Market, Status
from backend.asked import Asked
from backend.bus.memory import MemoryBus
from backend.rooms import Room
from backend.settings import Settings
from backend.store.leases import Leases, open_leases
from backend.store.system_status import SOURCES, hear
from backend.store.told import EVER, recall
from backend.system_plan import SystemPlan
from backend.told_status import take
from backend.unasked import UNASKED_AFTER_S, Unasked
from backend.wiring import Store, open_store
from domain.market import EPOCH, to_ms
from domain.sources import MARKET, Answer, Measurement, Metric, SourceState, SourceStatus
from services.sentiment.blend import NAME
from tests.doubles import START
from tests.hosts import HORIZON
from tests.integration import test_worker
from tests.integration.test_seals import answers
from tests.integration.test_worker import EXCHANGES, H1, HISTORY, NAMES, Workers, until

STORED = """
SELECT exchange, as_of, array_agg(values ORDER BY symbol) AS rows, max(revision) AS revision,
    min(source_status ->> 'fear_greed') AS state
FROM ml_features_sentiment JOIN instruments USING (instrument_id)
WHERE as_of > $1 GROUP BY exchange, as_of ORDER BY as_of, exchange
"""
FITTED = "SELECT DISTINCT feature_set FROM ml_models_metadata WHERE kind = 'logistic'"
NEWEST = "SELECT max(value) FROM market_metrics"
TRAINING = {"MINIMUM_ROWS": "150", "EVERY_BARS": "1", "KINDS": '["logistic.direction"]'}
BEHIND = timedelta(minutes=10)  # what the clock of those who ask is behind the others'


class Polls(list[str]):
    """The processes that asked, in order; nobody may while a tick is made."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = asyncio.Event()
        self.allowed.set()


class Index:
    """A source that tells another value at each poll, and says who asks."""

    name = "fear_greed"
    every = timedelta(minutes=1)
    stale_after = timedelta(hours=9)

    def __init__(self, asked: Polls, process: str, clock: Behind) -> None:
        self._asked, self._process, self._clock = asked, process, clock

    async def poll(self) -> Answer:
        await self._asked.allowed.wait()
        self._asked.append(self._process)
        now_ms = to_ms(self._clock.now())
        one = Measurement(
            instrument=MARKET,
            metric=Metric.FEAR_GREED,
            event_ms=now_ms,
            known_ms=now_ms,
            value=float(len(self._asked)),
        )
        return Answer(measurements=(one,))

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A clock that is behind another."""

    clock: Any

    def now(self) -> datetime:
        moment: datetime = self.clock.now() - BEHIND
        return moment

    async def sleep(self, duration: timedelta) -> None:
        await self.clock.sleep(duration)


@dataclass(frozen=True, slots=True)
class Asker:
    """A process with the room `collectors`, of no exchange."""

    leases: Leases
    task: asyncio.Task[None]


@asynccontextmanager
async def asker(workers: Workers, name: str, asked: Polls) -> AsyncIterator[Asker]:
    clock = Behind(workers.clock)

    async def no_feeds(*_: Any) -> list[Any]:
        return []

    async def ask(*_: Any) -> Asked:
        return Asked(sources=[Index(asked, name, clock)], off={"reddit": "no key"})

    plan = SystemPlan(
        market=Market.LIVE, horizons=(HORIZON,), clock=clock, connect=no_feeds, ask=ask
    )
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(workers.url, workers.folder))
        leases = await stack.enter_async_context(open_leases(workers.url, name))
        process = Apart(
            plan=plan,
            settings=Settings(),
            rooms=frozenset({Room.COLLECTORS}),
            store=store,
            leases=leases,
            bus=MemoryBus(),
            executor=cast("Any", None),  # it fits nothing
            api=cast("Any", None),  # and serves nobody
        )
        task = asyncio.create_task(process.run())
        try:
            yield Asker(leases, task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


async def test_one_process_asks_and_every_worker_joins_what_was_known_at_each_close(
    database_url: str, store: Store, tmp_path: Path
) -> None:
    workers = Workers(database_url, tmp_path)
    await workers.open(store)
    asked = Polls()
    begun = START + HISTORY * H1.duration

    async def rows() -> Sequence[Any]:
        return list(await store.readers.fetch(STORED, begun))

    async def made() -> bool:
        return len(await rows()) == workers.told * len(EXCHANGES)

    async def up() -> bool:
        """Whether the source is said, and stored, to answer."""
        said = {one.source: one.state for one in sources(await hear(store.readers))}
        known = (await store.sources.states(EVER)).get("fear_greed")
        state = known and known.state
        return said.get("fear_greed") is state is SourceState.OK

    async def tick() -> None:
        before = len(asked)
        await until(lambda: stored(store, before), "the newest value in the tables")
        asked.allowed.clear()
        await workers.tick()
        await until(made, "the rows of a tick")
        asked.allowed.set()
        await until(lambda: longer(asked, before), "another value")

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(asker(workers, "first", asked))
        await until(up, "a source that answers")
        await stack.enter_async_context(asker(workers, "second", asked))
        one = await stack.enter_async_context(workers.process("one"))
        await until(lambda: followed(workers), "both panels at their ticks")
        await tick()
        await tick()
        assert set(asked) == {"first"}

        await store.writers.execute("SELECT pg_terminate_backend($1)", first.leases.pid)
        await until(lambda: holds(asked, "second"), "another who asks")
        await asyncio.gather(first.task, return_exceptions=True)
        await until(up, "a source that answers")
        died = len(asked) - asked[::-1].index("first")
        await tick()

        await stack.enter_async_context(workers.process("two"))
        await store.writers.execute("SELECT pg_terminate_backend($1)", one.leases.pid)
        await asyncio.gather(one.task, return_exceptions=True)
        await until(lambda: followed(workers), "both panels at the other worker")
        await tick()
        heard, live = await hear(store.readers), await rows()

    told, _ = await recall(store.readers, store.instruments, since=EPOCH, scorer=NAME)
    later = answers(told, [(row["exchange"], H1, row["as_of"], NAMES) for row in live])
    joined = [np.array(row["rows"], dtype=float) for row in live]
    assert set(asked[died:]) == {"second"}
    assert [values.tobytes() for values in joined] == [values for values, _ in later]
    assert {row["state"] for row in live} == {"ok"}
    assert {row["revision"] for row in live} == {1}  # nothing was found to be otherwise later
    assert len({float(values[0, 0]) for values in joined}) == workers.told
    assert [one.system for one in heard][-1] == SOURCES
    assert [one.reason for one in sources(heard)] == ["", "no key"]


async def test_what_was_told_is_what_models_of_a_worker_are_fitted_on(
    database_url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in TRAINING.items():
        monkeypatch.setenv(f"ALPHAPULSE_TRAINING__{name}", text)
    monkeypatch.setattr(test_worker, "HISTORY", 260)
    workers = Workers(database_url, tmp_path)
    await workers.open(store)

    async def up() -> bool:
        return "fear_greed" in await store.sources.states(EVER)

    async def fitted() -> bool:
        return bool(await store.readers.fetch(FITTED))

    async with asker(workers, "first", Polls()):
        await until(up, "a source")
        async with workers.process("one"):
            await until(lambda: followed(workers), "both panels at their ticks")
            await workers.tick()
            await until(fitted, "a model")

    assert {row["feature_set"] for row in await store.readers.fetch(FITTED)} == {
        "ohlcv_sentiment@1"
    }


async def test_sources_that_nobody_asks_any_more_are_off_until_somebody_does(
    database_url: str, store: Store, tmp_path: Path
) -> None:
    workers, asked, now = Workers(database_url, tmp_path), Polls(), [0.0]

    async def state() -> SourceState | None:
        known = (await store.sources.states(EVER)).get("fear_greed")
        return None if known is None else known.state

    async def up() -> bool:
        return await state() is SourceState.OK

    async with open_leases(database_url, "house") as leases:
        unasked = Unasked(store=store, leases=leases, clock=workers.clock, monotonic=lambda: now[0])
        async with asker(workers, "first", asked) as first:
            await until(up, "a source that answers")
            for now[0] in (0.0, UNASKED_AFTER_S):
                await unasked.look()
            await store.writers.execute("SELECT pg_terminate_backend($1)", first.leases.pid)
            await asyncio.gather(first.task, return_exceptions=True)
        await store.sources.change([fine()], known_at=workers.clock.now())  # as who is killed
        seen = []
        for now[0] in (100.0, 99.0 + UNASKED_AFTER_S, 100.0 + UNASKED_AFTER_S):
            await unasked.look()
            seen.append(await state())
        async with asker(workers, "second", asked):
            await until(up, "a source that answers")
            await unasked.look()
            await until(up, "a source that answers")

    assert seen == [SourceState.OK, SourceState.OK, SourceState.OFF]


def fine() -> SourceStatus:
    return SourceStatus(source="fear_greed", state=SourceState.OK, since=START)


async def stored(store: Store, value: int) -> bool:
    return bool(await store.readers.fetchval(NEWEST) == value)


async def followed(workers: Workers) -> bool:
    return workers.bus.followers == len(EXCHANGES)


async def longer(asked: list[str], before: int) -> bool:
    return len(asked) > before


async def holds(asked: list[str], name: str) -> bool:
    return name in asked


def sources(heard: Sequence[Any]) -> Sequence[Any]:
    """As any server says them."""
    status = Status(market=Market.LIVE)
    if heard:
        take(heard, status)
    return status.sources()
