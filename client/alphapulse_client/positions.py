"""Where a program stands in each stream, kept where it outlives the program."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from alphapulse_client.errors import PositionsError
from alphapulse_client.events import Position


class Positions(Protocol):
    """What a feed asks of the place where its positions are kept.

    The keys are streams, and patterns whose streams were granted: what comes to be under a
    pattern that is kept is told from its first event on.
    """

    async def load(self) -> Mapping[str, Position]:
        """All that were saved; called once, before the first connection."""

    async def save(self, moved: Mapping[str, Position]) -> None:
        """Keep these beside the others; called after the body of the loop has run."""


class MemoryPositions:
    """Positions that end with the program."""

    def __init__(self) -> None:
        self._kept: dict[str, Position] = {}

    async def load(self) -> Mapping[str, Position]:
        return self._kept.copy()

    async def save(self, moved: Mapping[str, Position]) -> None:
        self._kept.update(moved)


class FilePositions:
    """Positions in a JSON file of one program, replaced as a whole each time one moves.

    Args:
        path: the file; it need not exist, its folder must.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._kept: dict[str, Position] | None = None
        self._turn = asyncio.Lock()

    async def load(self) -> Mapping[str, Position]:
        """What the file holds; nothing where there is none.

        Raises:
            PositionsError: it cannot be read. It is not passed over: that would begin anew.
        """
        async with self._turn:
            return (await self._all()).copy()

    async def save(self, moved: Mapping[str, Position]) -> None:
        """Replace the file; afterwards it has what was kept and what moved.

        Raises:
            OSError: it cannot be written.
        """
        async with self._turn:
            kept = await self._all()
            kept.update(moved)
            await asyncio.to_thread(_write, self._path, kept)

    async def _all(self) -> dict[str, Position]:
        if self._kept is None:
            self._kept = await asyncio.to_thread(_read, self._path)
        return self._kept


def _read(path: Path) -> dict[str, Position]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: _position(each) for name, each in kept.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        detail = f"the positions in {path} cannot be read ({error}); remove it to begin anew"
        raise PositionsError(detail) from error


def _position(kept: Mapping[str, Any]) -> Position:
    return Position(kept["epoch"], int(kept["offset"]), kept["hash"])


def _write(path: Path, kept: Mapping[str, Position]) -> None:
    rows = {
        name: {"epoch": one.epoch, "offset": one.offset, "hash": one.hash}
        for name, one in kept.items()
    }
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(rows, file, indent=0)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
