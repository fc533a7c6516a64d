"""An instrument joins panels that run in another process, and leaves them; the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.panel_jobs import Rollbacks
from backend.store.candles import store_candles
from backend.store.jobs import Job, JobStore, Order
from backend.store.system_status import collectors_voice, panel_voice
from backend.wiring import Store, open_store
from domain.market import Instrument, Listing, rfc3339
from tests.doubles import START
from tests.factories import candles
from tests.integration.test_worker import EXCHANGES, H1, HISTORY, TICKS, Workers, until

NEWCOMER = Instrument("kraken", "NEW/USDT")
OWNER = panel_voice("kraken|1h")
LEASE = "SELECT generation FROM leases WHERE name = $1"
SERVED = """
SELECT as_of FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE role = 'champion' AND symbol = 'NEW/USDT' AND as_of > $1 ORDER BY as_of
"""
OTHERS = """
SELECT symbol, timeframe, as_of, revision, feature_set
FROM ml_features_ohlcv JOIN instruments USING (instrument_id)
WHERE symbol <> 'NEW/USDT' AND as_of <= $1 ORDER BY 1, 2, 3, 4
"""
NEW_ROWS = """
SELECT count(*) FROM ml_features_ohlcv JOIN instruments USING (instrument_id)
WHERE symbol = 'NEW/USDT'
"""


@dataclass
class Collecting:
    """What whoever collects `NEWCOMER`'s exchange does, while others run its panel."""

    store: Store
    workers: Workers

    async def fetch(self) -> datetime:
        """Its history: entered, and in no cross-section; the first close."""
        now, store = self.workers.clock.now(), self.store
        await store.instruments.watch([Listing(instrument=NEWCOMER)], since=now, added=True)
        walk = candles(HISTORY + TICKS, seed=9, instrument=NEWCOMER)
        past = walk[: HISTORY + self.workers.told]
        await store_candles(store.writers, store.instruments, past, known_at=now)
        self.workers.series[NEWCOMER] = walk
        return START + H1.duration

    async def ask(self, kind: str, **more: Any) -> str:
        request = {"exchange": NEWCOMER.exchange, "symbol": NEWCOMER.symbol, **more}
        caller = collectors_voice(NEWCOMER.exchange)
        order = Order(kind=kind, request=request, caller=caller, key=None)
        asked = await JobStore(self.store.writers).enter(order, [OWNER], at=START)
        return str(asked.row["id"])

    async def state(self, name: str) -> str:
        (part,) = await JobStore(self.store.writers).parts(name)
        assert part.state != "failed", part
        return part.state


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("cut_short", ["", "by a kill"])
async def test_it_joins_a_running_panel_and_nobody_else_is_told_anything_new(
    database_url: str, store: Store, tmp_path: Path, cut_short: str
) -> None:
    workers = Workers(database_url, tmp_path)
    collecting = Collecting(store, workers)
    await workers.open(store)

    async def followed() -> bool:
        return workers.bus.followers == len(EXCHANGES)

    async def ended() -> bool:
        return await collecting.state(asked) == "done"

    async def predicted() -> bool:
        return len(await store.readers.fetch(SERVED, before)) == 2

    async def made() -> bool:
        count = await store.readers.fetchval(
            "SELECT count(*) FROM ml_predictions WHERE role = 'champion' AND as_of = $1", before
        )
        return bool(count == 2 * len(EXCHANGES))

    async with workers.process("one") as one:
        await until(followed, "both panels at their ticks")
        await workers.tick()
        before = START + (HISTORY + 1) * H1.duration
        await until(made, "the first tick")
        told = await store.readers.fetch(OTHERS, before)
        first = await collecting.fetch()
        if cut_short:  # whoever has it dies before it is taken up
            await store.writers.execute("SELECT pg_terminate_backend($1)", one.leases.pid)
            await asyncio.gather(one.task, return_exceptions=True)
        asked = await collecting.ask("join", first={"1h": rfc3339(first)})
        async with workers.process("two") if cut_short else nullcontext():
            await until(ended, "its rows")
            await until(followed, "both panels at their ticks")
            rows = await store.readers.fetchval(NEW_ROWS)
            await store.instruments.join(NEWCOMER, at=workers.clock.now())
            await workers.tick()
            await workers.tick()
            await until(predicted, "its predictions")
            generation = await store.readers.fetchval(LEASE, OWNER)

    assert rows == HISTORY + 1
    assert await store.readers.fetch(OTHERS, before) == told
    assert generation == (2 if cut_short else 1)
    section = await store.readers.fetchval(
        "SELECT max(cardinality(members)) FROM cross_sections WHERE exchange = 'kraken'"
    )
    assert section == 3


async def test_who_is_not_watched_any_more_is_not_told_of(
    database_url: str, store: Store, tmp_path: Path
) -> None:
    workers = Workers(database_url, tmp_path)
    await workers.open(store)
    gone = next(one for one in workers.series if one.exchange == NEWCOMER.exchange)
    collecting = Collecting(store, workers)

    async def followed() -> bool:
        return workers.bus.followers == len(EXCHANGES)

    async def ended() -> bool:
        return await collecting.state(asked) == "done"

    async def untold() -> bool:
        told = "SELECT told->>'instruments' FROM system_status WHERE system = $1"
        return gone.symbol not in await store.readers.fetchval(told, OWNER)

    async with workers.process("one"):
        await until(followed, "both panels at their ticks")
        await workers.tick()
        await store.instruments.unwatch(gone, until=workers.clock.now(), removed=True)
        order = Order(
            kind="leave",
            request={"exchange": gone.exchange, "symbol": gone.symbol},
            caller="test",
            key=None,
        )
        entered = await JobStore(store.writers).enter(order, [OWNER], at=START)
        asked = entered.row["id"]
        await until(ended, "that its signals are closed")
        await until(untold, "that the panel speaks of the others alone")


@dataclass
class Seats:
    """A panel's, whose version 3 has a seat with version 2 behind it."""

    versions: list[int]

    def placed(self, _: int) -> dict[str, int]:
        return {"lightgbm.direction": self.versions[-1]} if self.versions else {}

    async def roll_back(self, _horizon: int, _name: str) -> int | None:
        self.versions.pop()
        return self.versions[-1] if self.versions else None


async def test_a_rollback_that_is_done_again_takes_no_other_version() -> None:
    seats = Seats([2, 3])
    observer = SimpleNamespace(learning=seats, roll_back=seats.roll_back)
    panel = SimpleNamespace(rooms={4: None})
    hosted: Any = SimpleNamespace(observer=observer, runner=SimpleNamespace(panel=panel))
    place = {"exchange": "kraken", "timeframe": "1h", "horizon": 4}
    job = Job(
        id="one",
        kind="rollback",
        request={**place, "model": "lightgbm.direction", "version": 3},
        created_at=START,
        progress={},
    )

    async def note(_: object) -> None: ...

    outcomes = [await Rollbacks(hosted).do(replace(job, attempt=n), note) for n in (1, 2)]

    row = {**place, "model": "lightgbm.direction", "version": 3, "previous": 2}
    assert [one.result for one in outcomes] == [[row], [row]]
    assert seats.versions == [2]
