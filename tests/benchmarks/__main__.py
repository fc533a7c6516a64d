"""Run the bench: a table for people, bench.json for machines."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Coroutine
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

for _library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):  # as the trainer's workers; before they load
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

from backend.store.embedded import EmbeddedPostgres  # noqa: E402
from domain.events import Examples  # noqa: E402
from domain.ports import Model  # noqa: E402
from tests.benchmarks import (  # noqa: E402
    answering,
    arrivals,
    bus,
    collecting,
    fanout,
    latency,
    market,
    memory,
    page,
    parts,
    relaying,
    served_api,
    store,
    training_cost,
    workers,
)
from tests.benchmarks.floor import Floor, measure_floor  # noqa: E402
from tests.benchmarks.measure import FULL, QUICK, Row, Size, machine, show, write  # noqa: E402


class Bench:
    """All measurements, over one server."""

    def __init__(self, server: str, folder: Path, size: Size) -> None:
        self.server, self.folder, self.size = server, folder, size
        self.place = (server, folder, size)

    @cached_property
    def examples(self) -> Examples:
        return market.examples(self.size.train_instruments, self.size.train_bars)

    @cached_property
    def models(self) -> dict[str, Model]:
        return market.fitted(self.examples)

    async def latency(self) -> list[Row]:
        floor: Floor = await measure_floor(self.server, self.models[latency.ONE_BOOSTER])
        rows = await latency.ticks_of_500(*self.place, self.models, floor)
        return [*floor.rows(), *rows]

    async def arrivals(self) -> list[Row]:
        return await arrivals.close_to_signals(*self.place, self.models)

    async def timeframes(self) -> list[Row]:
        return await latency.three_timeframes(*self.place, self.models)

    async def growth(self) -> list[Row]:
        return await latency.growth(*self.place, self.models)

    async def features(self) -> list[Row]:
        return parts.features(self.size)

    async def sentiment(self) -> list[Row]:
        return parts.sentiment(self.size)

    async def interference(self) -> list[Row]:
        return await latency.interference(*self.place, self.models, self.examples)

    async def retrain(self) -> list[Row]:
        return await parts.retrain(self.examples, self.size)

    async def training(self) -> list[Row]:
        return await training_cost.pooled_beside_per_pair(self.size)

    async def wide(self) -> list[Row]:
        return [] if self.size is QUICK else await parts.one_wide_fit()

    async def replay(self) -> list[Row]:
        return await parts.replay(*self.place)

    async def store(self) -> list[Row]:
        return await store.writer(*self.place)

    async def relay(self) -> list[Row]:
        return await relaying.from_log_to_broker(*self.place)

    async def bus(self) -> list[Row]:
        return await bus.through_a_broker(self.folder, self.size)

    async def workers(self) -> list[Row]:
        return await workers.candles_to_signals(*self.place)

    async def answering(self) -> list[Row]:
        return await answering.over_a_broker(*self.place)

    async def collectors(self) -> list[Row]:
        return await collecting.all_of_it(*self.place)

    async def fanout(self) -> list[Row]:
        return await fanout.fan_out(*self.place)

    async def rest(self) -> list[Row]:
        return await served_api.rest(*self.place)

    async def resume(self) -> list[Row]:
        return await served_api.resume(*self.place)

    async def page(self) -> list[Row]:
        return await page.overview(*self.place)

    async def memory(self) -> list[Row]:
        return await memory.demo_memory(self.size)

    @property
    def all(self) -> dict[str, Callable[[], Coroutine[Any, Any, list[Row]]]]:
        names = (
            "features", "sentiment", "latency", "arrivals", "timeframes", "growth", "interference",
            "retrain", "training", "wide", "store", "relay", "bus", "workers", "answering",
            "collectors", "fanout", "rest", "resume", "page", "replay", "memory",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


def main() -> None:
    asking = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    asking.add_argument("--quick", action="store_true", help="a smoke run of all of it")
    asking.add_argument("--only", action="append", metavar="NAME", help="features, latency, …")
    asking.add_argument("--out", type=Path, default=Path("bench.json"))
    asked = asking.parse_args()
    console = Console(width=160)
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o711)  # the server may run as another user
        with EmbeddedPostgres(place / "server") as server:
            bench = Bench(server, place, QUICK if asked.quick else FULL)
            names = asked.only or list(bench.all)
            unknown = set(names) - bench.all.keys()
            if unknown:
                asking.error(
                    f"no bench {', '.join(sorted(unknown))}; there is {', '.join(bench.all)}"
                )
            rows: list[Row] = []
            for name in names:
                began = time.monotonic()
                console.print(f"[dim]{name} …[/dim]")
                rows += asyncio.run(bench.all[name]())
                console.print(f"[dim]{name}: {time.monotonic() - began:.0f} s[/dim]")
                write(asked.out, rows, before, quick=asked.quick)
    show(rows, console)
    console.print(
        f"load average before {before['load_average']}, after {machine()['load_average']}"
    )


if __name__ == "__main__":
    main()
