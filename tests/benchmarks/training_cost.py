"""What it costs to train one pooled model per kind, beside one model per instrument and kind."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass

import numpy as np

from backend.executor import ProcessExecutor
from backend.training_settings import TrainingSettings
from domain.events import Examples
from services.models.fitting import FitTask, fit
from tests.benchmarks.market import default_recipes, examples, task_of
from tests.benchmarks.measure import QUICK, Row, Size

INSTRUMENTS = 12
YEAR = 8_760  # candles of an hour
MONTH = 720


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of all fits of one scheme, one after another in a process of their own."""

    wall_s: float
    cpu_s: float
    peak_mib: float  # resident, of the whole process
    fits: int


async def pooled_beside_per_pair(size: Size) -> list[Row]:
    """Every default kind as a scheduled refit, on the same rows, in one worker."""
    rows = examples(INSTRUMENTS, MONTH if size is QUICK else YEAR)
    names = np.array([str(one) for one in rows.instruments])
    pairs = [rows.take(np.flatnonzero(names == name)) for name in np.unique(names)]
    most = TrainingSettings().maximum_rows
    capped = rows.take(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))
    per_pair = await _cost_of(pairs)
    schemes = {"all rows": [rows], f"{len(capped):,} rows": [capped]}
    found = _rows("one model per instrument and kind", per_pair, len(rows), None)
    for name, parts in schemes.items():
        cost = await _cost_of(parts)
        found += _rows(f"pooled, {name}", cost, sum(map(len, parts)), per_pair)
    return found


async def _cost_of(parts: list[Examples]) -> Cost:
    executor = ProcessExecutor(workers=1, nice=0)
    try:
        tasks = [task_of(recipe, part) for recipe in default_recipes() for part in parts]
        await asyncio.wrap_future(executor.submit(time.sleep, 0.1))  # it has started
        return await asyncio.wrap_future(executor.submit(fit_all, tasks))
    finally:
        executor.close()


def fit_all(tasks: list[FitTask]) -> Cost:
    """Run in a process of its own, whose memory is that of these fits."""
    wall, cpu = time.perf_counter(), time.process_time()
    for task in tasks:
        fit(task)
    return Cost(
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        fits=len(tasks),
    )


def _rows(scheme: str, cost: Cost, rows: int, beside: Cost | None) -> list[Row]:
    units = {"wall_s": ("s", "by the clock"), "cpu_s": ("s", "CPU"), "peak_mib": ("MiB", "peak")}
    return [
        Row(
            name=f"training of {INSTRUMENTS} instruments, {scheme}: {words}",
            value=getattr(cost, field),
            unit=unit,
            baseline=None if beside is None else getattr(beside, field),
            baseline_name="" if beside is None else "one model per instrument and kind",
            detail={"rows": rows, "models": cost.fits, "fits a model": 2},
        )
        for field, (unit, words) in units.items()
    ]
