"""An instrument whose history cannot be had is tried again at each start, until it is removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.api.status import Market, Status
from backend.clock import SystemClock
from backend.joining import Joining
from backend.store.jobs import JobStore
from backend.wiring import Store, open_store
from domain.errors import ExchangeUnavailableError, UnknownSymbolError, UsageError
from domain.market import Instrument, Listing, Timeframe
from tests.doubles import START, ManualClock

OLD, NEW = (Instrument("kraken", f"{base}/USD") for base in ("BTC", "NEW"))


@dataclass
class Life:
    """One of whoever collects an exchange that has no history of `NEW`."""

    store: Store
    lists: Sequence[str] = (OLD.symbol, NEW.symbol)
    asked: list[Instrument] = field(default_factory=list)
    fails: Exception = field(default_factory=lambda: ExchangeUnavailableError("nothing came"))
    status: Status = field(default_factory=lambda: Status(market=Market.LIVE))

    async def listings(self, symbols: Sequence[str]) -> list[Listing]:
        for symbol in symbols:
            if symbol not in self.lists:
                raise UnknownSymbolError(symbol, self.lists)
        return [Listing(instrument=Instrument(OLD.exchange, symbol)) for symbol in symbols]

    async def backfill(self, instruments: Sequence[Instrument], **_: Any) -> None:
        self.asked += instruments
        raise self.fails

    def joining(self, tasks: asyncio.TaskGroup) -> Joining:
        pace, clock = SimpleNamespace(wall=SystemClock()), ManualClock()
        exchange = SimpleNamespace(id=OLD.exchange, listings=self.listings)
        following: Any = SimpleNamespace(
            feed=SimpleNamespace(exchange=exchange, timeframes=(Timeframe.H1,), pace=pace),
            plan=SimpleNamespace(clock=clock, horizons=(4,)),
            store=self.store,
            status=self.status,
            listings={OLD: Listing(instrument=OLD)},
            instruments=(OLD,),
            backfill=self.backfill,
            tasks=tasks,
        )
        jobs = JobStore(self.store.writers)
        return Joining(following=following, jobs=jobs, ring=lambda: None)

    async def start(self) -> None:
        """To the end of what it tries by itself."""
        async with asyncio.TaskGroup() as tasks:
            await self.joining(tasks).try_again()


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        await opened.instruments.watch([Listing(instrument=OLD)], since=START)
        yield opened


async def unheard(_: str) -> None: ...


async def waiting(store: Store) -> tuple[Instrument, ...]:
    return (await store.instruments.membership(OLD.exchange)).waiting


async def test_what_could_not_join_is_tried_again_at_each_start_until_it_is_removed(
    store: Store,
) -> None:
    first = Life(store)
    async with asyncio.TaskGroup() as tasks:
        joining = first.joining(tasks)
        await joining.try_again()
        stands = await joining.add(NEW.symbol)
    assert stands == (NEW, "joining")
    assert await waiting(store) == (NEW,)
    (note,) = first.status.notes
    assert note == f"{NEW} could not join: nothing came; it is tried again at the next start"

    second = Life(store)
    await second.start()
    unlisted = Life(store, lists=[OLD.symbol])
    await unlisted.start()
    assert (first.asked, second.asked, unlisted.asked) == ([NEW], [NEW], [])
    assert "unknown symbol 'NEW/USD'" in unlisted.status.notes[0]
    assert await waiting(store) == (NEW,)

    async with asyncio.TaskGroup() as tasks:
        joining = second.joining(tasks)
        assert await joining.remove(NEW.symbol, unheard) == NEW
        with pytest.raises(UsageError, match="it has left already"):
            await joining.remove(NEW.symbol, unheard)
    last = Life(store)
    await last.start()
    assert (last.asked, last.status.notes, await waiting(store)) == ([], [], ())


async def test_one_that_fails_as_nobody_foresaw_ends_none_of_the_others(store: Store) -> None:
    life = Life(store, fails=KeyError("bid"))
    async with asyncio.TaskGroup() as tasks:
        stands = await life.joining(tasks).add(NEW.symbol)

    assert stands == (NEW, "joining")
    assert await waiting(store) == (NEW,)
    (note,) = life.status.notes
    assert note.startswith(f"{NEW} could not join: ")
