"""What the demo holds: proportional set size of its serving process and of its whole tree."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collectors.simulated.instruments import default_symbols
from tests.benchmarks.measure import Row, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Megabytes of PSS at one moment."""

    serving: float
    tree: float
    by_name: dict[str, float]


async def demo_memory(size: Size) -> list[Row]:
    """What is held in service, and the most that was held since the start."""
    rows = []
    for count in size.demo_instruments:
        starting, serving = await _demo(count, size.demo_seconds)
        in_service = serving[len(serving) // 2]
        most = max((*starting, *serving), key=lambda held: held.tree)
        target = 400.0 if count == 100 else None
        head = f"memory of the demo with {count} instruments"
        rows += [
            _row(f"{head}, serving process", in_service.serving, target),
            _row(f"{head}, whole tree", in_service.tree, detail=in_service.by_name),
            _row(f"{head}, serving process at most", max(h.serving for h in (*starting, *serving))),
            _row(f"{head}, whole tree at most", most.tree, detail=most.by_name),
        ]
    return rows


def _row(
    name: str, value: float, target: float | None = None, detail: dict[str, float] | None = None
) -> Row:
    return Row(name=name, value=value, unit="MB PSS", target=target, detail=detail or {})


async def _demo(count: int, seconds: int) -> tuple[list[Held], list[Held]]:
    """What was held every two seconds before and after the demo was ready, sorted."""
    symbols = ",".join(default_symbols(count))
    with tempfile.TemporaryDirectory() as state:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backend", "demo", "--state", state, "--port", "0",
            "--symbols", symbols, "--for", f"{seconds}s", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        ready = asyncio.create_task(_told_ready(process))
        starting: list[Held] = []
        serving: list[Held] = []
        try:
            while process.returncode is None:
                await asyncio.sleep(2.0)
                found = {pid: _pss_mb(pid) for pid in tree(process.pid)}
                held = Held(
                    serving=found.get(process.pid, 0.0),
                    tree=sum(found.values()),
                    by_name=_by_name(found),
                )
                (serving if ready.done() else starting).append(held)
        finally:
            ready.cancel()
            if process.returncode is None:
                process.terminate()
            await process.wait()
        if process.returncode or not serving:
            raise RuntimeError(f"the demo ended with {process.returncode}")
    return starting, sorted(serving, key=lambda held: held.serving)


async def _told_ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(b"ready"):
            return


def tree(root: int) -> Iterator[int]:
    """A process and all that came from it."""
    yield root
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


def _pss_mb(pid: int) -> float:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended, or it is not ours to look at
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) / 1_024 if found else 0.0


def _by_name(found: dict[int, float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for pid, megabytes in found.items():
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        total[name] = round(total.get(name, 0.0) + megabytes, 1)
    return total
