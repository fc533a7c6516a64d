"""Candles in, signals at a subscriber: ticks of 500, three timeframes, growth, interference."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from backend.executor import ProcessExecutor
from domain.events import Candle, CandleBatch, Examples
from domain.market import Timeframe
from domain.ports import Model
from services.models.fitting import fit
from tests.benchmarks.floor import Floor
from tests.benchmarks.market import default_recipes, scene, task_of
from tests.benchmarks.measure import Row, Size, p50, p99
from tests.benchmarks.serving import Played, served, told

STAGES = (
    "assembly", "features", "predictions", "signals", "commit", "publish", "socket",
    "second commit", "whole tick",
)  # fmt: skip
UNMEASURED = 5  # first ticks of a scenario: caches fill, instruments get their numbers
INSTRUMENTS = 500
ONE_BOOSTER = "xgboost.direction"

Times = list[dict[str, float]]


async def ticks_of_500(
    server: str, folder: Path, size: Size, models: dict[str, Model], floor: Floor
) -> list[Row]:
    """The default models, then one booster alone."""
    found = []
    for name, members in (
        ("default models", list(models.values())),
        ("one booster", [models[ONE_BOOSTER]]),
    ):
        times = await signals_at_subscriber(server, folder, size.ticks, members)
        arrival = [one["arrival"] for one in times]
        stages = {stage: [p50(_of(times, stage)), p99(_of(times, stage))] for stage in STAGES}
        head = f"500 close together, {name}"
        detail = {"ticks": len(times), "stages p50 p99 ms": stages, "members": len(members)}
        found += [
            _ms(f"{head}: signals at subscriber p50", p50(arrival), 25.0, floor.p50, detail),
            _ms(f"{head}: signals at subscriber p99", p99(arrival), 50.0, floor.p99),
        ]
        found += [_stage(head, stage, *stages[stage]) for stage in STAGES]
    return found


async def signals_at_subscriber(
    server: str, folder: Path, ticks: int, members: Sequence[Model], instruments: int = INSTRUMENTS
) -> Times:
    """Play ticks one after another; each ends when the subscriber has every signal."""
    warm = scene(instruments, ticks + UNMEASURED, members)
    times = []
    async with served(server, folder, [warm]) as behind:
        played = behind.play(warm)
        async with behind.subscriber("signals.1h.*.*", instruments) as subscriber:
            for batch, messages in told(warm):
                spent = await played.tick(batch, messages)
                _, arrived_ns = await subscriber.next()
                spent["arrival"] = (arrived_ns - spent["began_ns"]) / 1e6
                spent["socket"] = (arrived_ns - spent["published_ns"]) / 1e6
                times.append(spent)
    return times[UNMEASURED:]


async def three_timeframes(
    server: str, folder: Path, size: Size, models: dict[str, Model]
) -> list[Row]:
    """100 instruments at three timeframes, all closing at once."""
    frames = (Timeframe.M5, Timeframe.M15, Timeframe.H1)
    members = list(models.values())
    scenes = [scene(100, size.ticks + UNMEASURED, members, frame) for frame in frames]
    spent = []
    async with served(server, folder, scenes) as behind:
        panels = [behind.play(one) for one in scenes]
        for moment in zip(*(told(one) for one in scenes), strict=True):
            times = await asyncio.gather(
                *(panel.tick(*one) for panel, one in zip(panels, moment, strict=True))
            )
            began = min(one["began_ns"] for one in times)
            spent.append((max(one["published_ns"] for one in times) - began) / 1e6)
    spent = spent[UNMEASURED:]
    head = "100 instruments × 3 timeframes: candle → published prediction"
    return [_ms(f"{head} p50", p50(spent)), _ms(f"{head} p99", p99(spent), 100.0)]


async def growth(server: str, folder: Path, size: Size, models: dict[str, Model]) -> list[Row]:
    """Time per tick by the count of instruments, and the exponent that fits it."""
    measured: dict[str, list[float]] = {"to publication": [], "whole tick": []}
    for count in size.growth:
        warm = scene(count, size.growth_ticks + UNMEASURED, list(models.values()))
        async with served(server, folder, [warm]) as behind:
            played = behind.play(warm)
            times = [await played.tick(*one) for one in told(warm)][UNMEASURED:]
        for stage, values in measured.items():
            values.append(p50(_of(times, stage)))
    rows = []
    for stage, values in measured.items():
        slope, _ = np.polyfit(np.log(size.growth), np.log(values), 1)
        last = np.log(values[-1] / values[-2]) / np.log(size.growth[-1] / size.growth[-2])
        detail = dict(zip(map(str, size.growth), values, strict=True)) | {"last step": float(last)}
        rows.append(
            Row(
                name=f"growth from {size.growth[0]} to {size.growth[-1]} instruments, {stage}",
                value=float(slope),
                unit="exponent",
                target=1.1,
                detail=detail,
            )
        )
    return rows


async def interference(
    server: str, folder: Path, size: Size, models: dict[str, Model], rows: Examples
) -> list[Row]:
    """Ticks with and without a training beside them, in turns."""
    ticks = 2 * size.rounds * size.round_ticks + UNMEASURED
    warm = scene(100, ticks, list(models.values()))
    executor = ProcessExecutor()
    quiet, busy = [], []
    try:
        async with served(server, folder, [warm]) as behind:
            played = behind.play(warm)
            moments = iter(told(warm))
            await _round(played, moments, UNMEASURED)
            await asyncio.wrap_future(executor.submit(time.process_time))
            for _ in range(size.rounds):
                quiet.append(await _round(played, moments, size.round_ticks))
                training = asyncio.create_task(_train(executor, rows))
                busy.append(await _round(played, moments, size.round_ticks))
                training.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await training
                await asyncio.wrap_future(executor.submit(time.process_time))
    finally:
        executor.close()
    ratios = [p99(with_) / p99(without) for with_, without in zip(busy, quiet, strict=True)]
    return [
        Row(
            name="tick p99 while a training runs, beside none (median ratio)",
            value=p50(ratios),
            unit="×",
            target=1.10,
            detail={"ratios": ratios, "p99 ms": [list(map(p99, quiet)), list(map(p99, busy))]},
        ),
        Row(
            name="tick p50 while a training runs, beside none (median ratio)",
            value=p50([p50(b) / p50(q) for b, q in zip(busy, quiet, strict=True)]),
            unit="×",
        ),
    ]


async def _round(
    played: Played, moments: Iterator[tuple[CandleBatch, list[Candle]]], ticks: int
) -> list[float]:
    return [(await played.tick(*one))["to publication"] for one in islice(moments, ticks)]


async def _train(executor: ProcessExecutor, rows: Examples) -> None:
    """Fit the default kinds one after another, until cancelled."""
    for recipe in cycle(default_recipes()):
        await asyncio.wrap_future(executor.submit(fit, task_of(recipe, rows)))


def _of(times: Times, stage: str) -> list[float]:
    return [one[stage] for one in times]


def _ms(
    name: str,
    value: float,
    target: float | None = None,
    floor: float | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Row:
    return Row(
        name=name,
        value=value,
        unit="ms",
        target=target,
        baseline=floor,
        baseline_name="hand floor" if floor else "",
        detail=detail or {},
    )


def _stage(head: str, stage: str, median: float, worst: float) -> Row:
    return Row(name=f"{head}: {stage} p50", value=median, unit="ms", detail={"p99": worst})
