"""A collector on ccxt's client in wall time while the simulated exchange misbehaves."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from collectors.backfill import Rejected
from collectors.ccxt_exchange import CcxtExchange
from collectors.collector import Collector, CollectorSettings
from collectors.gaps import Gap, GapState
from collectors.pacing import Pace
from collectors.simulated.clock import ScaledClock
from collectors.simulated.faults import Fault, FaultKind
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.server import Play, SimulatedExchange
from collectors.versions import prices
from domain.events import Candle
from domain.market import Instrument, Timeframe, from_ms

H1 = Timeframe.H1
SPEED = 14_400  # four candles a second
NAMES = [Instrument("simulated", symbol) for symbol in default_symbols(4)]
FAULTS = (
    Fault(kind=FaultKind.DROP, instrument="BTCUSDT", after=2),
    Fault(kind=FaultKind.DUPLICATE, instrument="ETHUSDT", after=2),
    Fault(kind=FaultKind.REORDER, instrument="BNBUSDT", after=3),
    Fault(kind=FaultKind.DISCONNECT, after=7),
    Fault(kind=FaultKind.STATUS_429, after=6),
    Fault(kind=FaultKind.STATUS_503, after=9),
    Fault(kind=FaultKind.HOLE, instrument="SOLUSDT", after=4),
)


class Nothing:
    """A store without candles."""

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[int]:
        return []

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        return []


@dataclass
class ExchangeClock:
    """The time of the simulated exchange."""

    clock: ScaledClock

    def now(self) -> datetime:
        return from_ms(self.clock.now_ms())

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds() / self.clock.speed)


@dataclass
class WallClock:
    """Time since the test began."""

    def now(self) -> datetime:
        return from_ms(int(asyncio.get_running_loop().time() * 1000))

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


async def test_faults_of_every_kind_lose_nothing_and_double_nothing() -> None:
    told: Counter[tuple[str, int]] = Counter()
    values: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    gaps: list[Gap] = []
    enough = asyncio.Event()

    async def out(event: Candle | Gap | Rejected) -> None:
        assert not isinstance(event, Rejected)
        if isinstance(event, Gap):
            gaps.append(event)
            return
        key = event.instrument.symbol, event.open_ms
        told[key] += 1
        values.setdefault(key, []).append((*prices(event), event.volume))
        if len(told) >= 4 * 14:
            enough.set()

    async with SimulatedExchange(SyntheticMarket(default_symbols(4)), Play(speed=SPEED)) as server:
        for fault in FAULTS:
            server.faults.add(fault)
        address = f"127.0.0.1:{server.port}"
        exchange = CcxtExchange(
            "binance",
            name="simulated",
            rest_url=f"http://{address}",
            ws_url=f"ws://{address}",
            rate_limited=False,
        )
        collector = Collector(
            exchange,
            stored=Nothing(),
            out=out,
            check=lambda _: None,
            pace=Pace(
                clock=ExchangeClock(server.clock),
                wall=WallClock(),
                random=np.random.default_rng(1),
                speed=SPEED,
            ),
            settings=CollectorSettings(close_grace=timedelta(milliseconds=300)),
        )
        task = asyncio.create_task(collector.run(NAMES, [H1]))
        async with asyncio.timeout(30):
            await enough.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        truth = {
            (name.symbol, one.open_ms): (*prices(one), one.volume)
            for name in NAMES
            for one in await exchange.fetch_candles(
                name,
                H1,
                since=from_ms(min(ms for _, ms in told)),
                until=await exchange.fetch_time(),
            )
        }
        await exchange.close()

    assert all(len(set(versions)) == len(versions) for versions in values.values())
    assert {key: versions[-1] for key, versions in values.items()} == {
        key: truth[key] for key in values
    }
    for name in NAMES:
        opens = sorted(open_ms for symbol, open_ms in told if symbol == name.symbol)
        grid = set(range(opens[0], opens[-1] + 1, H1.ms))
        holes = 1 if name.symbol == "SOL/USDT" else 0
        assert len(grid - set(opens)) <= holes, name
    assert GapState.FILLED in {gap.state for gap in gaps}
