"""Sources over a broker: whoever asks them or joins what they told may die, rows follow from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from backend.clock import SystemClock
from backend.settings import Settings
from backend.store.told import recall
from backend.wiring import Store, open_bus, open_store
from collectors.pacing import Pace
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.server import Play, SimulatedExchange
from domain.events import CandleBatch
from domain.market import EPOCH, Timeframe, to_ms
from domain.ports import EventBus
from domain.topics import CANDLES
from services.sentiment.blend import NAME
from tests.hosts import HORIZON
from tests.integration.test_seals import answers, stored
from tests.kafka import test_six_processes
from tests.kafka.broker import Broker
from tests.kafka.test_six_processes import MEMBERS, Recorded, until
from tests.processes import System, running_system
from tests.source_site import Site, site
from tests.source_subjects import rss

pytestmark = pytest.mark.kafka

BEFORE = timedelta(hours=-1)  # of the clock, when the day begins: it goes on ahead of it
PART = 30  # ticks, after which something happens
ELSEWHERE = "binanceus"  # whom those who ask collect
SETTINGS = {
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": "1000000",
    "ALPHAPULSE_SNAPSHOT_BARS": "20",
    "ALPHAPULSE_HISTORY_BARS": "200",
    "ALPHAPULSE_SOURCES__FEAR_GREED": "false",
    "ALPHAPULSE_SOURCES__DERIVATIVES": "false",
    "ALPHAPULSE_SOURCES__NEWS": "[]",
}
ITEMS = "SELECT count(*) FROM sentiment_items"
WORKERS = "SELECT count(DISTINCT holder) FROM leases WHERE starts_with(name, 'panel ')"
ASKS = "SELECT holder FROM leases WHERE name = 'sources'"
JOINED = """
SELECT timeframe, as_of, array_agg(values ORDER BY symbol) AS rows, max(revision) AS revision
FROM ml_features_sentiment JOIN instruments USING (instrument_id)
WHERE exchange = 'binance' AND as_of > $1 GROUP BY timeframe, as_of ORDER BY as_of, timeframe
"""
SERVED = """
SELECT count(DISTINCT (timeframe, as_of)) FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE exchange = 'binance' AND role = 'champion' AND as_of > $1
"""


def entry(number: int) -> str:
    title = f"Bitcoin and Ethereum traders cheer record number {number}"
    return f"<item><guid>{number}</guid><title>{title}</title></item>"


async def started(stack: AsyncExitStack, folder: Path, rooms: str, **settings: str) -> System:
    """A process, beside what answers it here."""
    await asyncio.to_thread(folder.mkdir)
    flags = ("--exchange", ELSEWHERE, "--symbols", "BTC/USDT", "--timeframes", "1h")
    running = running_system(
        folder, "run", "--rooms", rooms, "--horizons", str(HORIZON), *flags, **settings
    )
    system = await asyncio.to_thread(running.__enter__)
    stack.push(running.__exit__)
    return system


async def test_whoever_dies_rows_follow_from_what_is_stored(
    own: Broker, tmp_path: Path, database_url: str, shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(test_six_processes, "AHEAD", BEFORE)
    day = Recorded(shared_data / "ohlcv")
    begun = day.ticks[0].as_of - timedelta(seconds=1)
    playing = Play(clock_ms=to_ms(SystemClock().now()))
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(site())
        market = SyntheticMarket(default_symbols(1))
        exchange = await stack.enter_async_context(SimulatedExchange(market, playing))
        store = await stack.enter_async_context(open_store(database_url, tmp_path / "artifacts"))
        settings = environment(database_url, own, web, exchange)
        openings = await day.store(store)
        web.answers["/rss"] = rss(entry(1))
        first = await started(stack, tmp_path / "first", "collectors", **settings)
        await until(lambda: counted(store, ITEMS, 1))
        one = await started(stack, tmp_path / "one", "panels", **settings)
        await started(stack, tmp_path / "two", "panels", **settings)
        await started(stack, tmp_path / "second", "collectors", **settings)
        await until(lambda: counted(store, WORKERS, 2))
        asked = [await store.readers.fetchval(ASKS)]
        pace = Pace(clock=SystemClock(), wall=SystemClock(), random=np.random.default_rng(7))
        about = Settings(bus_url=settings["ALPHAPULSE_BUS_URL"])
        bus = await stack.enter_async_context(open_bus(about, pace))
        await play(bus, day.ticks[:PART], openings)
        web.answers["/rss"] = rss(entry(1), entry(2))
        first.kill(server=False)
        await play(bus, day.ticks[PART : 2 * PART], openings)
        await until(lambda: counted(store, ITEMS, 2))
        one.kill(server=False)
        await play(bus, day.ticks[2 * PART : 3 * PART], openings)
        await until(lambda: counted(store, SERVED, 3 * PART, begun))
        asked.append(await store.readers.fetchval(ASKS))
        told, _ = await recall(store.readers, store.instruments, since=EPOCH, scorer=NAME)
        found = await store.readers.fetch(JOINED, begun)

    names = sorted(each.symbol for each in MEMBERS)
    closes = [("binance", Timeframe(row["timeframe"]), row["as_of"], names) for row in found]
    live = [stored(row["rows"]) for row in found]
    assert len(set(asked)) == 2
    assert {row["revision"] for row in found} == {1}
    assert live == [values for values, _ in answers(told, closes)]
    assert len(set(live)) > PART  # two items at least, of an age that differs


async def play(
    bus: EventBus, ticks: Sequence[CandleBatch], openings: Mapping[Timeframe, int]
) -> None:
    for tick in ticks:
        await bus.publish(CANDLES, replace(tick, opening=openings[tick.timeframe]))


async def counted(store: Store, question: str, count: int, *about: object) -> bool:
    found: int = await store.readers.fetchval(question, *about)
    return found == count


def environment(url: str, broker: Broker, web: Site, exchange: SimulatedExchange) -> dict[str, str]:
    address = f"http://127.0.0.1:{exchange.port}"
    name = ELSEWHERE.upper()
    return {
        **SETTINGS,
        "ALPHAPULSE_DATABASE_URL": url,
        "ALPHAPULSE_BUS_URL": f"kafka://{broker.address}",
        "ALPHAPULSE_SOURCES__FEEDS": f'{{"local": "{web.address("/rss")}"}}',
        f"ALPHAPULSE_EXCHANGE__{name}__REST_URL": address,
        f"ALPHAPULSE_EXCHANGE__{name}__WS_URL": address.replace("http", "ws"),
    }
