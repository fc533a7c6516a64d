"""What the demo holds: proportional set size of its serving process and of its whole tree."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.measure import Row, Size

STARTING_S = 90.0


async def demo_memory(size: Size) -> list[Row]:
    rows = []
    for count in size.demo_instruments:
        serving, tree, names = await _demo(count, size.demo_seconds)
        target = 400.0 if count == 100 else None
        head = f"memory of the demo with {count} instruments"
        rows += [
            Row(name=f"{head}, serving process", value=serving, unit="MB PSS", target=target),
            Row(name=f"{head}, whole tree", value=tree, unit="MB PSS", detail=names),
        ]
    return rows


async def _demo(count: int, seconds: int) -> tuple[float, float, dict[str, float]]:
    symbols = ",".join(f"C{number:03}/USDT" for number in range(count))
    with tempfile.TemporaryDirectory() as state:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backend", "demo", "--state", state, "--port", "0",
            "--symbols", symbols, "--for", f"{int(STARTING_S) + seconds}s",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            most: tuple[float, float, dict[str, float]] = (0.0, 0.0, {})
            ends = time.monotonic() + seconds
            while time.monotonic() < ends and process.returncode is None:
                await asyncio.sleep(2.0)
                found = {pid: _pss_mb(pid) for pid in tree(process.pid)}
                now = (found.get(process.pid, 0.0), sum(found.values()), _by_name(found))
                most = max(most, now, key=lambda one: one[1])
            return most
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


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
