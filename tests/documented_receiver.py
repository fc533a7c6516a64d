"""The receiver of docs/notifications.md, taken from the page and run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests import house
from tests.ports import free_port
from tests.processes import HTTP, until
from tests.receiver import SECRET

PAGE = "docs/notifications.md"


@dataclass
class Listening:
    """The documented program, running."""

    url: str
    output: Path

    @property
    def said(self) -> list[str]:
        return self.output.read_text().splitlines()


@contextmanager
def listening() -> Iterator[Listening]:
    port = free_port()
    program = "\n".join(house.block(PAGE, "## A receiver"))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "said")
        with output.open("w") as said:
            process = subprocess.Popen(  # noqa: S603 - of our own page
                [sys.executable, "-c", program],
                env={**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port)},
                stdout=said,
                stderr=subprocess.DEVNULL,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(url), "the receiver listens")
            yield Listening(url, output)
        finally:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return HTTP.get(url).status_code == httpx.codes.NOT_IMPLEMENTED
    except httpx.ConnectError:
        return False
