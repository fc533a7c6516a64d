"""New events of the stream log, whoever wrote them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final

import asyncpg

from backend.store.stream_log import FIRST_HASH, StreamEvent, split_hashes
from backend.store.stream_reads import Log, Place, Reader, read_log
from backend.store.told_events import meet_head, mended_head
from domain.errors import StoreError

_BLOCKS: Final = "SELECT log, epoch, block FROM stream_heads"


class LogTail:
    """Reads on from where it stood; one for a process.

    The events of a log come in its order and none is left out or told twice. Which of two logs
    comes first is not said.
    """

    def __init__(self) -> None:
        self._logs: dict[str, Log] = {}

    async def begin(self, connection: asyncpg.Connection) -> Mapping[str, Log]:
        """Stand at the heads of all logs that there are."""
        for row in await connection.fetch(_BLOCKS):
            if (log := await _read(connection, row["log"])) is not None:
                self._logs[log.name] = log
        return self._logs

    async def news(self, connection: asyncpg.Connection) -> AsyncGenerator[list[StreamEvent], None]:
        """What was committed since, log by log."""
        for row in await connection.fetch(_BLOCKS):
            before = self._logs.get(row["log"])
            if before is not None and (before.epoch, before.block) == (row["epoch"], row["block"]):
                continue
            log = await _read(connection, row["log"])
            if log is None:
                continue
            reader = Reader(log, _places(log, before), log.heads)
            events: list[StreamEvent] = []
            while not reader.ended:
                events += await reader.page(connection)
            self._logs[log.name] = log  # only now: where a read fails all of it is read again
            yield events


async def _read(connection: asyncpg.Connection, name: str) -> Log | None:
    """The log of a name; None where its head was edited, which then is a trouble."""
    try:
        log = await read_log(connection, name)
    except StoreError as error:
        meet_head(name, error)
        return None
    mended_head(name)
    return log


def _places(log: Log, before: Log | None) -> dict[str, Place]:
    """Behind which event each stream of `log` is read; a log that began anew from its first."""
    if before is None or before.epoch != log.epoch:
        return {stream: log.base.behind(stream) for stream in log.places}
    offsets = before.heads
    hashes = dict(zip(before.places, split_hashes(before.hashes), strict=True))
    return {
        stream: Place(offsets.get(stream, 0), hashes.get(stream, FIRST_HASH), before.block)
        for stream in log.places
    }
