"""From an exchange's close to the signals at a subscriber, with delays as they were recorded."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson

from backend.clock import SystemClock
from collectors.cross_section import CrossSection
from domain.events import Candle, CandleBatch, Floats
from domain.ports import Model
from tests.benchmarks.latency import INSTRUMENTS, UNMEASURED
from tests.benchmarks.market import EXCHANGE, scene
from tests.benchmarks.measure import Row, Size, p50, p99
from tests.benchmarks.serving import Played, served, told

RECORDING = Path("ws", "binance_futures_ws_1.jsonl.gz")
SILENT_EVERY = 50  # one instrument of so many never closes
STREAMS = "signals.1h.*.*"
MOST = 0.95
SEED = 7


def recorded_delays(folder: Path) -> Floats:
    """By how many seconds each recorded message came later than the fastest of them.

    The recorder's clock is not the exchange's: what all messages have in common is not known.
    """
    delays = []
    with gzip.open(folder / RECORDING, "rb") as lines:
        for line in lines:
            frame = orjson.loads(line)
            message = orjson.loads(frame["raw"]) if frame["dir"] == "in" else {}
            if moment := message.get("data", message).get("E"):
                delays.append(frame["recv_ts"] - moment / 1_000)
    found: Floats = np.array(delays) - min(delays)
    return found


async def close_to_signals(
    server: str, folder: Path, size: Size, models: dict[str, Model]
) -> list[Row]:
    """500 instruments close together; 2 % stay silent, the rest arrive as recorded."""
    data = Path(os.environ.get("ALPHAPULSE_TEST_DATA", "../shared/data"))
    if not (data / RECORDING).exists():
        print(f"skipped: no recorded data in {data} (set ALPHAPULSE_TEST_DATA)")  # noqa: T201
        return []
    delays = recorded_delays(data)
    rng = np.random.default_rng(SEED)
    warm = scene(INSTRUMENTS, size.ticks + UNMEASURED, list(models.values()))
    speaking = INSTRUMENTS - INSTRUMENTS // SILENT_EVERY
    most = round(MOST * speaking)
    spent: dict[str, list[float]] = {"all signals": [], f"{MOST:.0%} of the signals": []}
    came: dict[str, list[float]] = {what: [] for what in spent}
    async with served(server, folder, [warm]) as behind:
        played = behind.play(warm)
        played.section = CrossSection(
            exchange=EXCHANGE,
            timeframe=warm.ticks[0].timeframe,
            instruments=warm.ticks[0].instruments,
        )
        async with (
            behind.subscriber(STREAMS, INSTRUMENTS, events=speaking) as every,
            behind.subscriber(STREAMS, INSTRUMENTS, events=most) as some,
        ):
            for batch, candles in told(warm):
                heard = [one for n, one in enumerate(candles) if n % SILENT_EVERY]
                arrivals = _Arrivals(candles=heard, delays=np.sort(rng.choice(delays, speaking)))
                closed_ns = await arrivals.play(played, batch)
                for what, subscriber, count in zip(
                    spent, (every, some), (speaking, most), strict=True
                ):
                    _, arrived_ns = await subscriber.next()
                    spent[what].append((arrived_ns - closed_ns) / 1e6)
                    came[what].append(1_000 * float(arrivals.delays[count - 1]))
    usual = (1_000 * delays).tolist()
    detail = {"delays p50 p99 ms": [p50(usual), p99(usual)], "ticks": size.ticks}
    head = f"{INSTRUMENTS} close, {INSTRUMENTS - speaking} silent, recorded delays: close →"
    return [
        Row(
            name=f"{head} {what} {name}",
            value=measure(values[UNMEASURED:]),
            unit="ms",
            baseline=measure(came[what][UNMEASURED:]),
            baseline_name="arrival of the last candle that they are of",
            detail=detail,
        )
        for what, values in spent.items()
        for name, measure in (("p50", p50), ("p99", p99))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrivals:
    """Candles of one close, and how many seconds after it each comes, increasing."""

    candles: Sequence[Candle]
    delays: Floats

    async def play(self, played: Played, batch: CandleBatch) -> int:
        """Let them come; when the close was, in ns."""
        wall, section = SystemClock(), played.section
        played.scene.clock.set(batch.as_of + timedelta(milliseconds=50))
        closed_ns = time.monotonic_ns()
        for candle, delay in zip(self.candles, self.delays.tolist(), strict=True):
            left = delay - (time.monotonic_ns() - closed_ns) / 1e9
            if left > 0:
                await asyncio.sleep(left)
            await self._take(
                played, [*section.due(wall.now()), *section.add(candle, arrived=wall.now())]
            )
        while (due := section.next_deadline()) is not None:
            await asyncio.sleep(max((due - wall.now()).total_seconds(), 0))
            await self._take(played, section.due(wall.now()))
        return closed_ns

    async def _take(self, played: Played, drawn: Sequence[CandleBatch]) -> None:
        for made in drawn:
            await played.runner.on_candles(made.came_at(played.scene.clock.now()))
