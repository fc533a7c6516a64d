"""Rows of the bench: a value, its target, and a baseline measured in the same run."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One number of the bench.

    Attributes:
        target: what decisions ask for, in `unit`; None where nothing is asked.
        most: whether `target` is an upper bound.
        baseline: of the floor or the other side, in `unit`, measured in the same run.
        detail: what the number is of.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    most: bool = True
    baseline: float | None = None
    baseline_name: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.most else self.value >= self.target

    def plain(self) -> dict[str, Any]:
        ratio = self.value / self.baseline if self.baseline else None
        return {**asdict(self), "met": self.met, "ratio_to_baseline": ratio}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured; a quick run is a smoke test."""

    ticks: int  # per latency scenario
    growth: tuple[int, ...]  # instruments
    growth_ticks: int
    train_instruments: int
    train_bars: int
    rounds: int  # interleaved, with and without training
    round_ticks: int
    replay_bars: int
    store_ticks: int
    subscribers: int
    requests: int  # of REST, by each count of clients
    demo_instruments: tuple[int, ...]
    demo_seconds: int


QUICK = Size(
    ticks=15,
    growth=(10, 100, 300),
    growth_ticks=6,
    train_instruments=20,
    train_bars=250,
    rounds=2,
    round_ticks=12,
    replay_bars=250,
    store_ticks=10,
    subscribers=20,
    requests=64,
    demo_instruments=(4,),
    demo_seconds=20,
)
FULL = Size(
    ticks=80,
    growth=(10, 30, 100, 300, 1_000),
    growth_ticks=15,
    train_instruments=100,
    train_bars=500,
    rounds=5,
    round_ticks=40,
    replay_bars=500,
    store_ticks=40,
    subscribers=1_000,
    requests=3_200,
    demo_instruments=(12, 100),
    demo_seconds=60,
)


def p50(values: Sequence[float]) -> float:
    return float(np.median(values))


def p99(values: Sequence[float]) -> float:
    """The 99th percentile; of fewer than a hundred values, all but the largest weight."""
    return float(np.percentile(values, 99))


def machine() -> dict[str, Any]:
    """Where and beside what the numbers were measured."""
    return {
        "cores": os.cpu_count(),
        "load_average": [round(one, 2) for one in os.getloadavg()],
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def show(rows: Sequence[Row], console: Console) -> None:
    table = Table("what", "value", "target", "met", "baseline", "ratio")
    for row in rows:
        plain = row.plain()
        bound = "" if row.target is None else f"{'≤' if row.most else '≥'} {_spell(row.target)}"
        beside = row.baseline
        table.add_row(
            row.name,
            f"{_spell(row.value)} {row.unit}",
            bound,
            {True: "yes", False: "no", None: ""}[row.met],
            "" if beside is None else f"{_spell(beside)} ({row.baseline_name})",
            "" if plain["ratio_to_baseline"] is None else f"{plain['ratio_to_baseline']:.2f}",
        )
    console.print(table)


def write(path: Path, rows: Sequence[Row], before: Mapping[str, Any], *, quick: bool) -> None:
    document = {
        "quick": quick,
        "machine_before": before,
        "machine_after": machine(),
        "rows": [row.plain() for row in rows],
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _spell(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
