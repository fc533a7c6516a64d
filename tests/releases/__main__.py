"""Keeps what a release leaves: `python -m tests.releases FILE`, of its statements.

They come from `pytest -p tests.releases.recording --statements FILE tests/integration tests/unit`.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import backend
from backend.store import migrate
from backend.store.database import connect
from backend.store.embedded import EmbeddedPostgres
from tests.releases import HERE, Release, compatible
from tests.releases.recording import OURS, read, write
from tests.releases.state import make


def keep(statements: Path) -> None:
    """Make the folder of this release; one that is there is made anew."""
    release = Release(HERE / f"{backend.VERSION}+{migrate.heads()[0]}")
    shutil.rmtree(release.folder, ignore_errors=True)
    release.folder.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        with EmbeddedPostgres(Path(folder)) as url:
            migrate.upgrade(url)
            asked = asyncio.run(_answered(url, sorted({*read(statements), *constants()})))
        write(release.statements, asked)
        kept = make(Path(folder) / "system", release.backup)
    release.said.write_bytes(kept.spelled())


def constants() -> Iterator[str]:
    """What our files name, for those statements that only processes of their own asked."""
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        if not module.name.endswith("__main__"):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, str) and value.lstrip().startswith(OURS):
                    yield value


async def _answered(url: str, statements: list[str]) -> list[str]:
    """Those that a server can plan: no part of one, none of a table that is gone by then."""
    connection = await connect(url)
    try:
        said = (await compatible.met(connection, statements)).said
    finally:
        await connection.close()
    return [one for one in statements if not isinstance(said.get(one), str)]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.releases FILE")
    keep(Path(sys.argv[1]))
