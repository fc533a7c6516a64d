"""How long a prediction takes over a real broker, beside how much else goes by way of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from backend.settings import Settings
from backend.wiring import Store, open_bus
from domain.events import CandleBatch
from domain.ports import EventBus
from domain.topics import CANDLES
from tests.benchmarks.measure import Row, Size
from tests.benchmarks.workers import EXCHANGES, INSTRUMENTS, History, held, processes, stored
from tests.kafka.broker import Broker, NoBrokerError
from tests.kafka.buses import pace
from tests.processes import environment

RATE: Final = 7_153  # records of 1 KiB a second beside them
EVERY_S: Final = 0.25  # a tick of the panel that is measured
LOOK_EVERY_S: Final = 0.001
TARGET_MS: Final = 20.0
ANSWERED: Final = "SELECT count(*) FROM cross_sections WHERE (exchange, as_of) = ($1, $2)"
LOAD_END_S: Final = 30.0


async def over_a_broker(server: str, folder: Path, size: Size) -> list[Row]:
    """From publication of a tick to the commit of its predictions; nothing without a broker."""
    place = folder / "answering"
    place.mkdir()
    try:
        broker = Broker(place)
    except NoBrokerError as error:
        sys.stderr.write(f"answering: {error}\n")
        return []
    try:
        await asyncio.to_thread(broker.start)
        prefix, address = "answering", f"kafka://{broker.address}"
        about = {"ALPHAPULSE_BUS_URL": address, "ALPHAPULSE_KAFKA__PREFIX": prefix}
        settings = Settings(bus_url=address, kafka={"prefix": prefix})
        history = History(6 * size.store_ticks + 2)
        async with stored(server, folder, history) as store, open_bus(settings, pace()) as bus:
            beside = {**about, "ALPHAPULSE_DATABASE_URL": store.url}
            with processes(folder, 1, beside):
                await held(store)
                first, *ticks = history.ticks[EXCHANGES[0]]
                await _answer(bus, store, first)  # it has caught up with its history
                half = len(ticks) // 2
                calm = [await _answer(bus, store, tick) for tick in ticks[:half]]
                with _load(broker.address) as reached:
                    busy = [await _answer(bus, store, tick) for tick in ticks[half:]]
    finally:
        broker.kill()
    return [
        _row("with nothing beside it", calm, {}),
        _row(f"beside {RATE:,} records of 1 KiB a second", busy, {"beside": reached[0]}),
    ]


def _row(beside: str, waits: list[float], detail: dict[str, float]) -> Row:
    low, high, most = np.quantile(waits, (0.5, 0.95, 0.99)) * 1_000
    return Row(
        name=f"a tick of {INSTRUMENTS} over a broker, published to predicted, {beside}",
        value=float(low),
        unit="ms",
        target=TARGET_MS,
        detail={"p95": float(high), "p99": float(most), "ticks": len(waits), **detail},
    )


async def _answer(bus: EventBus, store: Store, tick: CandleBatch) -> float:
    """Seconds until its predictions are committed; the next tick is not published at once."""
    began = time.perf_counter()
    await bus.publish(CANDLES, tick)
    asked = (ANSWERED, tick.exchange, tick.as_of)
    while not await store.readers.fetchval(*asked):  # noqa: ASYNC110 - another process's
        await asyncio.sleep(LOOK_EVERY_S)
    took = time.perf_counter() - began
    await asyncio.sleep(max(EVERY_S - took, 0.0))
    return took


@contextmanager
def _load(address: str) -> Iterator[list[float]]:
    """Other ticks by way of the same broker; the rate that they reached is known at the end."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "tests.benchmarks.busy_bus", address, str(RATE)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    reached: list[float] = []
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it is under way
        yield reached
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=LOAD_END_S)
        reached.append(float(said))
    finally:
        process.kill()
        process.wait()
