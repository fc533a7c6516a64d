"""A bot in a process of its own, which is killed in the midst of its work."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Literal

from alphapulse_client import Client, FilePositions

Moment = Literal["before", "after"]  # the work on its last event


def run_and_kill(url: str, folder: Path, events: int, moment: Moment) -> int:
    """Let a bot work on so many events, then kill -9; the exit code."""
    path = os.pathsep.join(sys.path)
    command = [sys.executable, __file__, url, str(folder), str(events), moment]
    return subprocess.run(command, env={"PYTHONPATH": path}, check=False).returncode  # noqa: S603


def worked_on(folder: Path) -> list[tuple[str, int]]:
    """Stream and offset of each event, in the order of the work."""
    lines = (folder / "work").read_text().splitlines()
    return [(stream, int(offset)) for stream, _, offset in (line.rpartition(" ") for line in lines)]


async def _follow(url: str, folder: Path, events: int, moment: str) -> None:
    positions = FilePositions(folder / "positions.json")
    work = os.open(folder / "work", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    async with Client(url) as client:
        feed = client.updates("signals.*.*.*", since="start", positions=positions)
        async with aclosing(feed):
            async for update in feed:
                events -= 1
                if not events and moment == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(work, f"{update.stream} {update.offset}\n".encode())
                if not events:
                    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(_follow(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
