"""Candles on their way in: messages a second, the repair of an hour, the audit of the ledger."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from backend.clock import SystemClock
from backend.store.gaps import GapLedger
from collectors.backfill import Rejected
from collectors.budget import Budget
from collectors.ccxt_exchange import STREAMS, CcxtExchange
from collectors.ccxt_import import exchange_class, moved
from collectors.checks import reason
from collectors.collector import Collector
from collectors.gaps import Gap, ceil_ms
from collectors.pacing import Pace
from collectors.simulated.clock import ScaledClock
from collectors.simulated.instruments import default_symbols
from domain.events import Candle
from domain.market import Instrument, Timeframe, from_ms, to_ms
from tests.benchmarks.market import instruments
from tests.benchmarks.measure import Row, Size, p50
from tests.benchmarks.serving import served
from tests.followed import ExchangeClock
from tests.house import ROOT

M1 = Timeframe.M1
COUNT, UPDATES, SPEED = 500, 9, 60  # instruments, forming frames a candle, candles a minute
WARM_S, HEARD_S = 5.0, 15.0
AUDITED, AT_ONCE = 2_000, 20  # candles a series, series a question: as the auditor asks
HOLE, TORN = 60, 50  # minutes, instruments

_HISTORY = """
INSERT INTO candles (instrument_id, timeframe, open_time, close_time, open, high, low, close,
    volume, confirmed, source, revision, known_at, row_hash)
SELECT instrument_id, '1m', at, at + interval '1 minute', 1, 1, 1, 1, 1, true, 'backfill', 1, at, ''
FROM instruments, generate_series($1::timestamptz, $2, interval '1 minute') AS at
"""


class Stored:
    """A store whose newest `HOLE` candles are missing, or that has none at all."""

    def __init__(self, until_ms: int | None = None) -> None:
        self._until_ms = until_ms

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> Sequence[int]:
        if self._until_ms is None:
            return []
        return range(ceil_ms(to_ms(since), timeframe), self._until_ms, timeframe.ms)

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        return []


class Told(Budget):
    """A budget that says what was drawn."""

    spent = timedelta(0)

    async def draw(self, cost: timedelta) -> None:
        self.spent += cost
        await super().draw(cost)


async def all_of_it(server: str, folder: Path, size: Size) -> list[Row]:
    return [*await messages(), *await repairs(), *await audits(server, folder, size)]


@asynccontextmanager
async def exchange(symbols: Sequence[str], *, speed: float) -> AsyncIterator[tuple[str, int]]:
    """The simulated one in a process of its own: address and time."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "collectors.simulated", "--timeframe", "1m", "--speed", str(speed)),
        *("--symbols", ",".join(symbols), "--updates", str(UPDATES)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    address = f"127.0.0.1:{json.loads(await process.stdout.readline())['port']}"
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"http://{address}/_control/time")
        now_ms = (await answer.json())["now"]
    try:
        yield address, now_ms
    finally:
        process.terminate()
        await process.wait()


async def messages() -> list[Row]:
    """What a core takes of them, by the processor time that they cost."""
    symbols = default_symbols(COUNT)
    async with exchange(symbols, speed=SPEED) as (address, now_ms):
        clock = ScaledClock(now_ms, SPEED)
        alone = await _heard(address, _ccxt_alone(address, symbols))
        ours = await _heard(address, _collector(address, symbols, clock))
    what = {"instruments": COUNT, "forming frames a candle": UPDATES}
    return [
        Row(name="messages through ccxt alone", value=alone, unit="1/s and core", detail=what),
        Row(
            name="messages through the whole collector, ccxt included",
            value=ours,
            unit="1/s and core",
            baseline=alone,
            baseline_name="ccxt alone",
        ),
    ]


async def _heard(address: str, listening: Awaitable[None]) -> float:
    """Frames that were sent while `listening`, by seconds of this process."""
    task = asyncio.ensure_future(listening)
    async with aiohttp.ClientSession(f"http://{address}") as session:

        async def sent() -> int:
            query = {"symbol": "none"}
            answer = await session.get("/_control/sent", params=query)
            frames = (await answer.json())["frames"]
            return int(frames["forming"] + frames["closed"])

        await asyncio.sleep(WARM_S)
        frames, spent = await sent(), time.process_time()
        await asyncio.sleep(HEARD_S)
        frames, spent = await sent() - frames, time.process_time() - spent
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return frames / spent


async def _ccxt_alone(address: str, symbols: Sequence[str]) -> None:
    """The loop that a user of ccxt writes."""
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}
    client: Any = exchange_class("binance")({"enableRateLimit": False, "options": options})
    sockets = client.urls["api"].pop("ws")
    client.urls["api"] = moved(client.urls["api"], f"http://{address}")
    client.urls["api"]["ws"] = moved(sockets, f"ws://{address}")

    async def watch(some: Sequence[str]) -> None:
        while True:
            await client.watch_ohlcv_for_symbols([[one, M1.value] for one in some])

    try:
        await client.load_markets()
        parts = range(0, len(symbols), STREAMS)
        await asyncio.gather(*(watch(symbols[at : at + STREAMS]) for at in parts))
    finally:
        await client.close()


async def _collector(address: str, symbols: Sequence[str], clock: ScaledClock) -> None:
    async def out(event: Candle | Gap | Rejected) -> None: ...

    names = [Instrument("simulated", symbol) for symbol in symbols]
    adapter = _adapter(address)
    try:
        await _made(adapter, clock, Stored(), out).run(names, [M1])
    finally:
        await adapter.close()


def _adapter(address: str, budget: Budget | None = None) -> CcxtExchange:
    return CcxtExchange(
        "binance",
        name="simulated",
        rest_url=f"http://{address}",
        ws_url=f"ws://{address}",
        rate_limited=budget is not None,
        budget=budget,
    )


def _made(
    adapter: CcxtExchange,
    clock: ScaledClock,
    stored: Stored,
    out: Callable[[Candle | Gap | Rejected], Awaitable[None]],
) -> Collector:
    pace = Pace(
        clock=ExchangeClock(clock),
        wall=SystemClock(),
        random=np.random.default_rng(1),
        speed=clock.speed,
    )
    return Collector(adapter, stored=stored, out=out, check=reason, pace=pace)


async def repairs() -> list[Row]:
    """A 1-hour hole, from its discovery to the last candle; free, and at Binance's pace."""
    hole = f"a {HOLE}-minute hole in {TORN} instruments of 1m"
    budget = Told(SystemClock())
    free, paced = await _repaired(None), await _repaired(budget)
    return [
        Row(name=f"{hole}, repaired without a pace", value=free, unit="s"),
        Row(
            name=f"{hole}, repaired at Binance's pace",
            value=paced,
            unit="s",
            baseline=budget.spent.total_seconds(),
            baseline_name="as its budget allows",
        ),
    ]


async def _repaired(budget: Budget | None) -> float:
    symbols = default_symbols(TORN)
    lacking = {(symbol, minute) for symbol in symbols for minute in range(HOLE)}
    found: list[float] = []
    async with exchange(symbols, speed=1) as (address, now_ms):
        since_ms = (now_ms // M1.ms - HOLE) * M1.ms
        whole = asyncio.Event()

        async def out(event: Candle | Gap | Rejected) -> None:
            if isinstance(event, Gap):
                found.append(time.perf_counter())
            elif isinstance(event, Candle):
                minute = (event.open_ms - since_ms) // M1.ms
                lacking.discard((event.instrument.symbol, minute))
            if not lacking:
                whole.set()

        adapter = _adapter(address, budget)
        collector = _made(adapter, ScaledClock(now_ms, 1), Stored(since_ms), out)
        names = [Instrument("simulated", symbol) for symbol in symbols]
        running = asyncio.create_task(collector.run(names, [M1]))
        await whole.wait()
        took = time.perf_counter() - found[0]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await adapter.close()
    return took


async def audits(server: str, folder: Path, size: Size) -> list[Row]:
    """The ledger against the store, over the whole of each series."""
    names = instruments(COUNT)
    since = from_ms(to_ms(datetime.fromisoformat("2024-01-01T00:00:00+00:00")))
    took = []
    async with served(server, folder) as behind:
        await behind.store.instruments.ids(names)
        last = since + (AUDITED - 1) * timedelta(minutes=1)
        await behind.store.writers.execute(_HISTORY, since, last)
        await behind.store.writers.execute("ANALYZE candles")
        ledger = GapLedger(behind.store.writers, behind.store.instruments)
        for _ in range(max(3, size.rounds)):
            began = time.perf_counter()
            for at in range(0, COUNT, AT_ONCE):
                await ledger.differences(names[at : at + AT_ONCE], M1)
            took.append(time.perf_counter() - began)
    what = {"instruments": COUNT, "candles a series": AUDITED}
    return [Row(name="an audit of the gap ledger", value=p50(took), unit="s", detail=what)]
