"""Sources over a broker: whoever asks them or joins what they told may die, rows follow from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
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
from services.sentiment.feature_set import SENTIMENT
from tests.hosts import HORIZON
from tests.integration.test_seals import answers, stored
from tests.kafka.broker import Broker
from tests.kafka.test_six_processes import MEMBERS, Recorded, until
from tests.processes import System, running_system
from tests.source_site import Site, site
from tests.source_subjects import rss

pytestmark = pytest.mark.kafka

# The day begins after its first item was heard, and ends before that is too old to be read.
AHEAD = timedelta(hours=2)
PART = timedelta(hours=2)  # of the day, after which something happens; it ends with all of a close
PARTS = 4
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
HEARD = "SELECT count(*) FROM source_states WHERE source = 'local' AND state = 'ok'"
WORKERS = "SELECT count(DISTINCT holder) FROM leases WHERE starts_with(name, 'panel ')"
ASKS = "SELECT holder FROM leases WHERE name = 'sources'"
JOINED = """
SELECT timeframe, as_of, array_agg(values ORDER BY symbol) AS rows, max(revision) AS revision
FROM ml_features_sentiment JOIN instruments USING (instrument_id)
WHERE exchange = 'binance' AND as_of > $1 GROUP BY timeframe, as_of ORDER BY as_of, timeframe
"""
ANSWERED = """
SELECT count(DISTINCT (timeframe, as_of))
FROM ml_features_sentiment JOIN instruments USING (instrument_id)
WHERE exchange = 'binance' AND as_of > $1
"""
TITLES = (  # each a story of its own
    "Bitcoin and Ethereum traders cheer a record",
    "Hackers drain an exchange of Ethereum, then of Bitcoin",
)
COUNT, AGE = (SENTIMENT.columns.index(name) for name in ("news_count", "news_age_s"))


def entries(count: int) -> bytes:
    told = (
        f"<item><guid>{number}</guid><title>{title}</title></item>"
        for number, title in enumerate(TITLES[:count])
    )
    return rss(*told)


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
    own: Broker, tmp_path: Path, database_url: str, shared_data: Path
) -> None:
    day = Recorded(shared_data / "ohlcv", ahead=AHEAD)
    begun = day.ticks[0].as_of - day.ticks[0].timeframe.duration
    parts = [ticks_of(day, begun + number * PART) for number in range(PARTS)]
    playing = Play(clock_ms=to_ms(SystemClock().now()))
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(site())
        market = SyntheticMarket(default_symbols(1))
        exchange = await stack.enter_async_context(SimulatedExchange(market, playing))
        store = await stack.enter_async_context(open_store(database_url, tmp_path / "artifacts"))
        settings = environment(database_url, own, web, exchange)
        openings = await day.store(store)
        web.answers["/rss"] = entries(1)
        first = await started(stack, tmp_path / "first", "collectors", **settings)
        await until(lambda: counted(store, ITEMS, 1))
        await until(lambda: counted(store, HEARD, 1))
        one = await started(stack, tmp_path / "one", "panels", **settings)
        await started(stack, tmp_path / "two", "panels", **settings)
        await started(stack, tmp_path / "second", "collectors", **settings)
        await until(lambda: counted(store, WORKERS, 2))
        asked = [await store.readers.fetchval(ASKS)]
        pace = Pace(clock=SystemClock(), wall=SystemClock(), random=np.random.default_rng(7))
        about = Settings(bus_url=settings["ALPHAPULSE_BUS_URL"])
        bus = await stack.enter_async_context(open_bus(about, pace))
        await play(bus, parts[0], openings)
        await until(lambda: counted(store, ANSWERED, len(parts[0]), begun))
        web.answers["/rss"] = entries(2)
        first.kill(server=False)
        await play(bus, parts[1], openings)  # which read it or not, or nothing: nobody asks
        await until(lambda: counted(store, ITEMS, 2))
        await until(lambda: counted(store, HEARD, 2))
        await play(bus, parts[2], openings)
        one.kill(server=False)
        await play(bus, parts[3], openings)
        await until(lambda: counted(store, ANSWERED, sum(map(len, parts)), begun))
        asked.append(await store.readers.fetchval(ASKS))
        told, _ = await recall(store.readers, store.instruments, since=EPOCH, scorer=NAME)
        found = await store.readers.fetch(JOINED, begun)

    names = sorted(each.symbol for each in MEMBERS)
    closes = [("binance", Timeframe(row["timeframe"]), row["as_of"], names) for row in found]
    live = [row["rows"] for row in found]
    assert len(set(asked)) == 2
    assert {row["revision"] for row in found} == {1}
    assert [stored(rows) for rows in live] == [values for values, _ in answers(told, closes)]
    early, late = len(parts[0]), len(parts[2]) + len(parts[3])
    assert {row[COUNT] for rows in live[:early] for row in rows} == {1}
    assert {row[COUNT] for rows in live[-late:] for row in rows} == {2}
    for some, each in ((live[:early], found[:early]), (live[-late:], found[-late:])):
        ages = {row[AGE] for rows in some for row in rows}
        assert len(ages) == len({row["as_of"] for row in each})


def ticks_of(day: Recorded, since: datetime) -> list[CandleBatch]:
    """Those that close in a part of the day."""
    return [tick for tick in day.ticks if since < tick.as_of <= since + PART]


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
