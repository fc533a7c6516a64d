"""How many ticks a second go by way of a real broker, beside the bus of one process."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from backend.bus.envelope import record_of
from backend.bus.memory import MemoryBus
from domain.events import Candle, CandleBatch
from domain.market import Instrument, Timeframe, to_ms
from domain.ports import EventBus
from domain.topics import CANDLES
from tests.benchmarks.measure import Row, Size
from tests.factories import candle_batches
from tests.kafka.broker import Broker, NoBrokerError
from tests.kafka.buses import bus_on

TARGET: Final = 7_153.0  # records of 1 KiB a second
EXCHANGES: Final = 100  # and each timeframe of each is a panel
UNDER_WAY: Final = 500  # publishers that wait at the same time, each of another panel
SMALL: Final = 4  # instruments of a tick of 1 KiB
LARGE: Final = 500


async def through_a_broker(folder: Path, size: Size) -> list[Row]:
    """Ticks a second of both buses; nothing where no broker can run."""
    place = folder / "bus"
    place.mkdir()
    try:
        broker = Broker(place)
    except NoBrokerError as error:
        sys.stderr.write(f"bus: {error}\n")
        return []
    rows = []
    try:
        await asyncio.to_thread(broker.start)
        for name, instruments, count, target in (
            ("ticks of 1 KiB through a broker", SMALL, 1_000 * size.store_ticks, TARGET),
            ("ticks of 500 instruments through a broker", LARGE, 20 * size.store_ticks, None),
        ):
            ticks = ticks_of(instruments)
            sample = record_of(CANDLES, ticks[0]).value
            async with bus_on(broker.address) as bus:
                await _all_through(bus, ticks, UNDER_WAY)  # clients learn where partitions are
                before = time.process_time()
                by_broker = await _all_through(bus, ticks, count)
                cpu_us = 1e6 * (time.process_time() - before) / count
            rows.append(
                Row(
                    name=name,
                    value=by_broker,
                    unit="ticks/s",
                    target=target,
                    most=False,
                    baseline=await _all_through(MemoryBus(), ticks, count),
                    baseline_name="the bus of one process",
                    detail={"ticks": count, "bytes": len(sample), "cpu_us": cpu_us},
                )
            )
        async with bus_on(broker.address) as bus:
            ticks = ticks_of(LARGE)[: 10 * size.store_ticks]
            waits = np.quantile(await _one_by_one(bus, ticks), (0.5, 0.95, 0.99)) * 1_000
        rows.append(
            Row(
                name="one tick of 500 instruments, from its publisher to its subscriber",
                value=float(waits[0]),
                unit="ms",
                detail={"p95": float(waits[1]), "p99": float(waits[2]), "ticks": len(ticks)},
            )
        )
    finally:
        broker.kill()
    return rows


async def _all_through(bus: EventBus, ticks: Sequence[CandleBatch], count: int) -> float:
    """Ticks a second from the first that is published to the last that is received."""
    async with bus.subscribe(CANDLES, group="bench") as events:
        began = time.perf_counter()
        publishing = asyncio.create_task(_publish(bus, ticks, count))
        for _ in range(count):
            await anext(events)
        await publishing
        return count / (time.perf_counter() - began)


async def _one_by_one(bus: EventBus, ticks: Sequence[CandleBatch]) -> list[float]:
    """Seconds of each, while nothing else is under way; the first ones are not counted."""
    waits = []
    async with bus.subscribe(CANDLES, group="bench") as events:
        for tick in ticks:
            began = time.perf_counter()
            publishing = asyncio.create_task(bus.publish(CANDLES, tick))
            await anext(events)
            waits.append(time.perf_counter() - began)
            await publishing
    return waits[len(waits) // 10 :]


async def _publish(bus: EventBus, ticks: Sequence[CandleBatch], count: int) -> None:
    async def one_panel(first: int) -> None:
        for number in range(first, count, UNDER_WAY):
            await bus.publish(CANDLES, ticks[number % len(ticks)])

    async with asyncio.TaskGroup() as tasks:
        for first in range(UNDER_WAY):
            tasks.create_task(one_panel(first))


def ticks_of(instruments: int) -> list[CandleBatch]:
    """One tick of each panel, with the versions as an exchange would have told them."""
    return [
        _told(tick)
        for number in range(EXCHANGES)
        for timeframe in Timeframe
        for tick in candle_batches(
            [Instrument(f"e{number}", f"COIN{one:03}/USDT") for one in range(instruments)],
            1,
            timeframe=timeframe,
        )
    ][:UNDER_WAY]


def _told(tick: CandleBatch) -> CandleBatch:
    prices = zip(tick.open, tick.high, tick.low, tick.close, tick.volume, strict=True)
    return replace(
        tick,
        told=tuple(
            Candle(
                instrument=instrument,
                timeframe=tick.timeframe,
                open_ms=to_ms(tick.as_of) - tick.timeframe.ms,
                open=float(opened),
                high=float(high),
                low=float(low),
                close=float(close),
                volume=float(volume),
                trades=123,
                event_ms=to_ms(tick.as_of),
            )
            for instrument, (opened, high, low, close, volume) in zip(
                tick.instruments, prices, strict=True
            )
        ),
    )
