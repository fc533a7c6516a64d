"""Publishes ticks of 1 KiB at a rate, and reads them (`… busy_bus ADDRESS RATE`)."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

from domain.ports import EventBus
from domain.topics import CANDLES
from tests.benchmarks.bus import SMALL, ticks_of
from tests.kafka.buses import bus_on

SLICE_S: Final = 0.01
UNDER_WAY: Final = 4_000  # publications; more are not begun, and the rate is missed


async def _main(address: str, rate: int) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with bus_on(address) as bus, bus.subscribe(CANDLES, group="busy") as events:
        reading = asyncio.create_task(_read(events))
        reached = await _publish(bus, rate, over)
        reading.cancel()
    sys.stdout.write(f"{reached:.0f}\n")


async def _read(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


async def _publish(bus: EventBus, rate: int, over: asyncio.Event) -> float:
    """Until `over`; acknowledged records a second."""
    ticks, tasks, done = ticks_of(SMALL), set[asyncio.Task[None]](), 0
    for tick in ticks:
        await bus.publish(CANDLES, tick)
    sys.stdout.write("under way\n")
    sys.stdout.flush()
    began, sent = time.perf_counter(), 0

    def acknowledged(task: asyncio.Task[None]) -> None:
        nonlocal done
        tasks.discard(task)
        done += not task.cancelled()

    while not over.is_set():
        due = min(int((time.perf_counter() - began) * rate), sent + UNDER_WAY - len(tasks))
        for number in range(sent, due):
            task = asyncio.create_task(bus.publish(CANDLES, ticks[number % len(ticks)]))
            tasks.add(task)
            task.add_done_callback(acknowledged)
        sent = max(sent, due)
        await asyncio.sleep(SLICE_S)
    took = time.perf_counter() - began
    reached = done / took
    await asyncio.gather(*tasks)
    return reached


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
