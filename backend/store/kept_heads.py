"""Heads of streams that were kept elsewhere: what they prove of the log that there is now.

A chain proves that no event before its head was altered. Who deletes events and writes the head
anew leaves a chain that is whole; only a head that was kept out of reach, or published, tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from backend.store.chain import Break
from backend.store.stream_log import log_of, split_hashes
from backend.store.stream_reads import Base, Log, by_log, find_places, read_base, read_log
from domain.errors import StoreError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptHead:
    """Where a stream stood; `hash` in hexadecimal digits."""

    stream: str
    epoch: str
    offset: int
    hash: str

    def line(self) -> str:
        """As a line of a file of heads."""
        row = {"stream": self.stream, "epoch": self.epoch, "offset": self.offset, "hash": self.hash}
        return orjson.dumps(row).decode()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> KeptHead:
        """From a row as `line` or `/v1/streams` has it.

        Raises:
            UsageError: it is no head.
        """
        words = [row.get(name) for name in ("stream", "epoch", "hash")]
        offset = row.get("offset")
        if not (all(isinstance(one, str) for one in words) and isinstance(offset, int)):
            raise UsageError(f"no head of a stream: {str(row)[:80]}")
        return cls(**{name: row[name] for name in cls.__slots__})


def parse(text: str) -> list[KeptHead]:
    """The heads in a file: a line each, or the answer of `/v1/streams`.

    Streams without an event, which have no hash, are passed over.

    Raises:
        UsageError: it is neither.
    """
    try:
        whole = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            whole = [orjson.loads(line) for line in text.splitlines() if line.strip()]
        except orjson.JSONDecodeError as error:
            raise UsageError(f"a file of heads has a JSON object in each line: {error}") from None
    rows = whole.get("data", [whole]) if isinstance(whole, dict) else whole
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError("a file of heads has a JSON object in each line")
    return [KeptHead.of(row) for row in rows if row.get("offset") != 0]


async def heads(connection: asyncpg.Connection) -> list[KeptHead]:
    """Of every stream that has an event, by name."""
    found = []
    for row in await connection.fetch("SELECT log FROM stream_heads ORDER BY log"):
        log = await read_log(connection, row["log"])
        found += _of_log(log) if log else []
    return sorted(found, key=lambda head: head.stream)


def _of_log(log: Log) -> list[KeptHead]:
    hashes = split_hashes(log.hashes)
    return [
        KeptHead(
            stream=stream,
            epoch=log.epoch,
            offset=log.offsets[number - 1],
            hash=hashes[number - 1].hex(),
        )
        for stream, number in log.places.items()
        if log.offsets[number - 1]
    ]


async def unjudged(connection: asyncpg.Connection, kept: Sequence[KeptHead]) -> int:
    """How many of the heads are of events that were dropped since: nothing tells of them."""
    bases: dict[str, Base] = {}
    for log in {log_of(head.stream) for head in kept}:
        bases[log] = await read_base(connection, log)
    return sum(_dropped(bases[log_of(head.stream)], head) for head in kept)


def _dropped(base: Base, head: KeptHead) -> bool:
    return head.offset < base.behind(head.stream).offset


async def breaks(connection: asyncpg.Connection, kept: Iterable[KeptHead]) -> list[Break]:
    """The heads that the log does not go through, in their order; see `unjudged`."""
    found: list[Break] = []
    by_stream: dict[str, list[KeptHead]] = {}
    for head in kept:
        by_stream.setdefault(head.stream, []).append(head)
    for name, streams in by_log(list(by_stream)).items():
        try:
            log = await read_log(connection, name)
        except StoreError as error:
            found.append(Break(stream=name, offset=0, reason=str(error)))
            continue
        for stream in streams:
            found += await _of_stream(connection, log, by_stream[stream])
    return found


async def _of_stream(
    connection: asyncpg.Connection, log: Log | None, kept: Sequence[KeptHead]
) -> list[Break]:
    found = []
    for head in kept:
        reason = await _fault(connection, log, head)
        if reason:
            found.append(Break(stream=head.stream, offset=head.offset, reason=reason))
    return found


async def _fault(connection: asyncpg.Connection, log: Log | None, head: KeptHead) -> str:
    if log is None or head.stream not in log.places:
        return "the head that was kept is of a stream that is not there"
    if log.epoch != head.epoch:
        return f"the log began anew: its epoch is {log.epoch}, and was {head.epoch}"
    if _dropped(log.base, head):
        return ""
    place = (await find_places(connection, log, {head.stream: head.offset})).get(head.stream)
    if place is None:
        return "the head that was kept is beyond the log, or its event is missing"
    return "" if place.hash.hex() == head.hash else "the head that was kept has another hash"
