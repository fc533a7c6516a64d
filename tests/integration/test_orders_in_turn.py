"""Orders about the instruments of an exchange are done in turn: the last word holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from backend.api.status import Market, Status
from backend.clock import SystemClock
from backend.job_orders import cancel_job
from backend.jobs import Bell
from backend.joining import exchange_jobs
from backend.settings import Settings
from backend.store.jobs import JobStore, Order, read_job
from backend.store.system_status import collectors_voice
from backend.wiring import Store, open_store
from domain.errors import ExchangeUnavailableError, UsageError
from domain.market import Instrument, Listing, Timeframe
from tests.doubles import START, ManualClock

OLD, NEW = (Instrument("kraken", f"{base}/USD") for base in ("BTC", "NEW"))
OWNER = collectors_voice(OLD.exchange)


@dataclass
class Collector:
    """Whoever collects an exchange, whose lists and history come when a test says so."""

    store: Store
    lists: asyncio.Event = field(default_factory=asyncio.Event)
    history: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.lists.set()

    async def listings(self, symbols: list[str]) -> list[Listing]:
        self.asked.set()
        await self.lists.wait()
        return [Listing(instrument=Instrument(OLD.exchange, one)) for one in symbols]

    async def backfill(self, _: object, **__: Any) -> None:
        await self.history.wait()
        raise ExchangeUnavailableError("nothing came")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From a start to its end."""
        with suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as tasks:
                exchange = SimpleNamespace(id=OLD.exchange, listings=self.listings)
                pace = SimpleNamespace(wall=SystemClock())
                following: Any = SimpleNamespace(
                    feed=SimpleNamespace(exchange=exchange, timeframes=(Timeframe.H1,), pace=pace),
                    plan=SimpleNamespace(clock=ManualClock(), horizons=(4,)),
                    store=self.store,
                    status=Status(market=Market.LIVE),
                    listings={OLD: Listing(instrument=OLD)},
                    instruments=(OLD,),
                    backfill=self.backfill,
                    tasks=tasks,
                )
                bell = Bell(JobStore(self.store.writers), SystemClock())
                jobs = await exchange_jobs(following, bell)
                running = [tasks.create_task(one) for one in (bell.run(), jobs.run())]
                yield
                for task in running:
                    task.cancel()

    async def order(self, kind: str, at_s: int) -> str:
        order = Order(kind=kind, request={"symbol": NEW.symbol}, caller="test", key=None)
        at = START + timedelta(seconds=at_s)
        entered = await JobStore(self.store.writers).enter(order, [OWNER], at=at)
        return str(entered.row["id"])

    async def job(self, name: str) -> asyncpg.Record:
        row = await read_job(self.store.readers, name)
        assert row is not None
        return row

    async def until(self, name: str, so: Callable[[asyncpg.Record], bool]) -> asyncpg.Record:
        async with asyncio.timeout(20):
            while not so(row := await self.job(name)):  # noqa: ASYNC110 - of the store
                await asyncio.sleep(0.02)
        return row

    async def waiting(self) -> tuple[Instrument, ...]:
        return (await self.store.instruments.membership(OLD.exchange)).waiting


def ended(row: asyncpg.Record) -> bool:
    return row["ended_at"] is not None


@pytest.fixture
async def collector(database_url: str, tmp_path: Path) -> AsyncIterator[Collector]:
    async with open_store(database_url, tmp_path) as opened:
        await opened.instruments.watch([Listing(instrument=OLD)], since=START)
        yield Collector(opened)


async def test_an_order_is_cancelled_by_a_command_while_nobody_is_there_and_not_done_later(
    collector: Collector, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = Settings(database_url=SecretStr(database_url), state=tmp_path)
    added, beside = [await collector.order(kind, at) for at, kind in enumerate(("add", "backfill"))]
    joins = await collector.order("join", 2)
    await cancel_job(added, named)
    said = capsys.readouterr().out
    refusals = {
        added: "waits to be begun: it is failed",
        joins: "is no order",
        "none": "no job none",
    }
    for name, why in refusals.items():
        with pytest.raises(UsageError, match=why):
            await cancel_job(name, named)
    async with collector.running():
        await collector.until(beside, ended)
    audited = await collector.store.readers.fetch(
        "SELECT action, path, outcome FROM audit_log ORDER BY id"
    )

    assert said == f"what waited of the add {added} is cancelled: it is failed\n"
    assert (await collector.job(added))["detail"] == "cancelled by command"
    assert await collector.waiting() == ()
    assert [tuple(row) for row in audited] == [
        ("cancel", added, 202), *(("cancel", name, 422) for name in refusals),
    ]  # fmt: skip


async def test_what_was_added_and_removed_while_nobody_was_there_is_removed(
    collector: Collector,
) -> None:
    kinds = ("add", "remove", "backfill")
    added, removed, beside = [await collector.order(kind, at) for at, kind in enumerate(kinds)]
    async with collector.running():
        await collector.until(beside, ended)
        waits = await collector.until(removed, lambda row: ended(row) or row["detail"] is not None)
        between = await collector.job(added)
        collector.history.set()
        done = await collector.until(removed, ended)

    assert (between["state"], waits["state"]) == ("done", "running")
    assert waits["detail"] == f"{NEW} is joining; it leaves when it has"
    assert (done["state"], done["detail"]) == ("done", None)
    assert await collector.waiting() == ()


async def test_what_was_removed_and_added_again_while_nobody_was_there_is_added(
    collector: Collector,
) -> None:
    await collector.store.instruments.watch([Listing(instrument=NEW)], since=START, added=True)
    await collector.store.instruments.unwatch(NEW, until=START, waiting=True)
    collector.history.set()
    names = [await collector.order(kind, at) for at, kind in enumerate(("remove", "add"))]
    async with collector.running():
        states = [(await collector.until(name, ended))["state"] for name in names]

    assert states == ["done", "done"]
    assert await collector.waiting() == (NEW,)


async def test_what_is_removed_while_it_is_tried_again_stays_removed(collector: Collector) -> None:
    await collector.store.instruments.watch([Listing(instrument=NEW)], since=START, added=True)
    await collector.store.instruments.unwatch(NEW, until=START, waiting=True)
    collector.history.set()
    collector.lists.clear()
    async with collector.running():
        await asyncio.wait_for(collector.asked.wait(), 20)
        removed = await collector.order("remove", 0)
        await collector.until(removed, lambda row: row["state"] != "queued")
        collector.lists.set()
        done = await collector.until(removed, ended)

    assert done["state"] == "done"
    assert await collector.waiting() == ()
