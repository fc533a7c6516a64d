"""Long work as a bar on a terminal and as plain lines anywhere else, always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

LINE_EVERY_S = 5.0


class Progress:
    """`with Progress("replay", 8_760) as progress: progress.report(120)`."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._said_at = time.monotonic()

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def report(self, done: int) -> None:
        """So much is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
        elif done == self._total or time.monotonic() - self._said_at >= LINE_EVERY_S:
            self._said_at = time.monotonic()
            sys.stderr.write(f"{self._name}: {done} of {self._total}\n")
            sys.stderr.flush()
