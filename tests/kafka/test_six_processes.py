"""A recorded day through one process, and over a broker through six: the same tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from backend.clock import SystemClock
from backend.setting_tables import KafkaSettings
from backend.settings import Settings
from backend.store.candles import store_candles
from backend.store.database import create_database, drop_database
from backend.store.leases import open_leases
from backend.store.open_panels import announce
from backend.wiring import Store, open_bus, open_store
from collectors.cross_section import CrossSection
from collectors.pacing import Pace
from domain.events import Candle, CandleBatch
from domain.market import Instrument, Listing, Timeframe, to_ms
from domain.ports import EventBus
from domain.topics import CANDLES
from tests import unproven
from tests.factories import candle
from tests.hosts import HORIZON, CountedBus, worker_of
from tests.kafka.broker import Broker
from tests.processes import HTTP, System, running_system

pytestmark = pytest.mark.kafka

DAY = datetime(2025, 6, 3, tzinfo=UTC)
MEMBERS = [Instrument("binance", name) for name in ("BTC/USDT", "ETH/USDT")]
TIMEFRAMES = (Timeframe.M5, Timeframe.M15, Timeframe.H1)
HISTORY = 300  # candles
AHEAD = timedelta(days=14)  # of the clock, history too: origins do not hang on when a test runs
ENVIRONMENT = {
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": "1000000",  # a fit ends when it ends
    "ALPHAPULSE_SNAPSHOT_BARS": "20",
    "ALPHAPULSE_SIGNALS__POLICY": "unproven",  # that of tests/unproven.py
    "ALPHAPULSE_SIGNALS__COST_BPS": "0",
    "ALPHAPULSE_SIGNALS__MINIMUM_STRENGTH": "0",
}
POLICY = Path(unproven.__file__)
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
HELD = "SELECT name FROM leases WHERE starts_with(name, 'panel ')"
HOLDERS = "SELECT DISTINCT holder FROM leases WHERE starts_with(name, 'panel ')"
LABELLED = "SELECT count(*) FROM ml_labels WHERE timeframe = $1 AND as_of = $2"
# What is the same whatever process made it, and whenever: all but moments and numbers of rows.
TABLES = {
    "candles": """
        SELECT symbol, timeframe, open_time, open, high, low, close, volume, revision
        FROM candles JOIN instruments USING (instrument_id) ORDER BY 1, 2, 3""",
    "features": """
        SELECT symbol, timeframe, as_of, revision, coverage, values
        FROM ml_features_ohlcv JOIN instruments USING (instrument_id) ORDER BY 1, 2, 3, 4""",
    "labels": """
        SELECT symbol, timeframe, horizon, as_of, revision, void, outcome, weight, log_return,
            realized_volatility, uniqueness
        FROM ml_labels JOIN instruments USING (instrument_id) ORDER BY 1, 2, 3, 4, 5""",
    "predictions": """
        SELECT symbol, timeframe, horizon, as_of, role, model, version, members, revision, origin,
            degraded, p_up, p_flat, p_down, q10, q50, q90, volatility, dissimilarity
        FROM ml_predictions JOIN instruments USING (instrument_id) ORDER BY 1, 2, 3, 4, 5, 6, 7""",
    "outcomes": """
        SELECT symbol, timeframe, horizon, as_of, role, model, version, log_loss, brier,
            pinball, qlike, covered
        FROM ml_prediction_outcomes JOIN instruments USING (instrument_id)
        ORDER BY 1, 2, 3, 4, 5, 6""",
    "signals": """
        SELECT symbol, timeframe, horizon, as_of, revision, side, gate, strength, size_fraction,
            sigma, expected_edge_bps, votes, model, version, status, entry_price, stop, take,
            expires_at, closed_at, exit_price, realized_return
        FROM trading_signals JOIN instruments USING (instrument_id) ORDER BY 1, 2, 3, 4, 5""",
    "events": """
        SELECT stream, "offset", event, as_of,
            convert_from(payload, 'UTF8')::jsonb - ARRAY['known_at', 'made_at']
        FROM stream_events ORDER BY 1, 2""",
}
CLOSED = "SELECT count(*) FROM trading_signals WHERE exit_price IS NOT NULL"


class Recorded:
    """The day, and what was before it, moved `ahead` of the hour of the clock."""

    def __init__(self, folder: Path, *, ahead: timedelta = AHEAD) -> None:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self.moved = hour + ahead - DAY
        self.past: list[Candle] = []
        self.ticks: list[CandleBatch] = []
        self.last = {one: DAY + self.moved + timedelta(days=1) for one in TIMEFRAMES}
        for timeframe in TIMEFRAMES:
            series = [self._series(folder, one, timeframe) for one in MEMBERS]
            self.past += [one for each in series for one in each[:HISTORY]]
            section = CrossSection(exchange="binance", timeframe=timeframe, instruments=MEMBERS)
            for tick in zip(*(each[HISTORY:] for each in series), strict=True):
                for one in tick:
                    self.ticks += section.add(one, arrived=DAY)
        self.ticks.sort(key=lambda batch: (batch.as_of, batch.timeframe.ms))

    def _series(self, folder: Path, one: Instrument, timeframe: Timeframe) -> list[Candle]:
        name = f"binance_{one.symbol.replace('/', '-')}_{timeframe.value}.parquet"
        table = pq.read_table(folder / name).to_pydict()
        first, end = to_ms(DAY) - HISTORY * timeframe.ms, to_ms(DAY + timedelta(days=1))
        ahead = round(self.moved.total_seconds() * 1000)
        rows = zip(
            *(table[c] for c in ("timestamp", *["open", "high", "low", "close", "volume"])),
            strict=True,
        )
        return [
            candle(
                instrument=one, timeframe=timeframe, open_ms=row[0] + ahead,
                open=row[1], high=row[2], low=row[3], close=row[4], volume=row[5],
            )
            for row in rows
            if first <= row[0] < end
        ]  # fmt: skip

    async def store(self, store: Store) -> dict[Timeframe, int]:
        """As those who collect do."""
        await store.instruments.watch([Listing(instrument=one) for one in MEMBERS], since=DAY)
        now = SystemClock().now()
        await store_candles(store.writers, store.instruments, self.past, known_at=now)
        return await announce(store.writers, "binance", TIMEFRAMES)

    async def play(self, bus: EventBus, openings: dict[Timeframe, int]) -> None:
        for batch in self.ticks:
            told = replace(batch, opening=openings[batch.timeframe])
            await bus.publish(CANDLES, told)

    async def answered(self, store: Store) -> bool:
        """Whether all that follows from the last close is there."""
        for timeframe, last in self.last.items():
            opened = last - HORIZON * timeframe.duration
            if await store.readers.fetchval(LABELLED, timeframe.value, opened) < len(MEMBERS):
                return False
        return True


async def test_a_recorded_day_gives_the_same_tables(
    own: Broker, tmp_path: Path, server_url: str, template: str, shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALPHAPULSE_STATE", str(state(tmp_path)))
    day = Recorded(shared_data / "ohlcv")
    found = []
    for number, play in enumerate((through_one, through_six)):
        name = f"test_day_{number}"
        url = await create_database(server_url, name, template=template)
        try:
            async with open_store(url, tmp_path / "artifacts") as store:
                await play(day, store, tmp_path, own)
                assert await store.readers.fetchval(CLOSED) > 0
                found.append({name: await rows(store, asked) for name, asked in TABLES.items()})
        finally:
            await drop_database(server_url, name)

    assert len(day.ticks) == 288 + 96 + 24
    assert len(found[0]["signals"]) >= len(MEMBERS) * len(day.ticks)
    for name, alone in found[0].items():
        assert len(alone) > 100, name
        assert found[1][name] == alone, name


async def through_one(day: Recorded, store: Store, folder: Path, broker: Broker) -> None:
    del broker
    bus, openings = CountedBus(), await day.store(store)
    async with (
        open_leases(store.url, "one") as leases,
        worker_of(store, leases, bus, SystemClock()) as worker,
    ):
        working = asyncio.create_task(worker.run())
        await until(lambda: _followed(bus))
        await day.play(bus, openings)
        await until(lambda: day.answered(store))
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def through_six(day: Recorded, store: Store, folder: Path, broker: Broker) -> None:
    """Three workers, two servers, and this one in the place of who collects."""
    settings = {
        **ENVIRONMENT,
        "ALPHAPULSE_DATABASE_URL": store.url,
        "ALPHAPULSE_BUS_URL": f"kafka://{broker.address}",
    }
    openings = await day.store(store)
    pace = Pace(clock=SystemClock(), wall=SystemClock(), random=np.random.default_rng(7))
    about = Settings(bus_url=settings["ALPHAPULSE_BUS_URL"], kafka=KafkaSettings())
    with ExitStack() as stack:
        processes: list[System] = []
        for number, rooms in enumerate(("panels", "panels", "panels", "api", "api")):
            place = folder / f"process{number}"
            place.mkdir()
            state(place)
            flags = ("run", "--rooms", rooms, "--horizons", str(HORIZON))
            processes.append(stack.enter_context(running_system(place, *flags, **settings)))
        await until(lambda: _counted(store, HELD, len(TIMEFRAMES)))
        await until(lambda: _counted(store, HOLDERS, 3))
        async with open_bus(about, pace) as bus:
            await day.play(bus, openings)
            await until(lambda: day.answered(store))
        latest = await asyncio.to_thread(HTTP.get, f"{processes[-1].url}/v1/predictions/latest")
        assert len(latest.json()["data"]) == len(MEMBERS) * len(TIMEFRAMES)


def state(folder: Path) -> Path:
    """A state folder with the policy."""
    plugins = folder / "state" / "plugins"
    plugins.mkdir(parents=True)
    copy(POLICY, plugins)
    return folder / "state"


async def rows(store: Store, question: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await store.readers.fetch(question)]


async def _followed(bus: CountedBus) -> bool:
    return bus.followers == len(TIMEFRAMES)


async def _counted(store: Store, question: str, count: int) -> bool:
    return len(await store.readers.fetch(question)) == count


async def until(holds: Callable[[], Any]) -> None:
    """Wait for what other processes come to."""
    async with asyncio.timeout(240):
        while not await holds():  # noqa: ASYNC110 - other processes'
            await asyncio.sleep(0.05)
