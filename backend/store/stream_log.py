"""The stream log: what was published, in order, each event chained to the one before it.

The hash of an event is SHA-256 over UTF-8 text: eight fields, each but the last followed
by a line feed —

    previous_hash (64 hex digits; zeros before offset 1), stream, epoch, offset, event,
    as_of, published_at (both RFC 3339 with milliseconds and Z), payload

where payload is the exact bytes of the row's JSON (`data` on the socket). Offsets of a
stream count from 1 without a hole; its head in `stream_heads` repeats the last offset and
hash. An edited, missing or back-dated event therefore breaks the chain at its offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import repeat
from typing import Final, NamedTuple

import asyncpg
import numpy as np

from backend.store.copy import Rows
from backend.store.merge import append
from backend.store.tables import stream_events
from domain.market import from_ms, rfc3339, to_ms

FIRST_HASH: Final = bytes(32)
_PAGE: Final = 2_000  # events that verification holds at a time

_CREATE: Final = """
INSERT INTO stream_heads (stream) SELECT unnest($1::text[]) ON CONFLICT (stream) DO NOTHING
"""
_HEADS: Final = """
SELECT stream, stream_id, epoch, head_offset, hash FROM stream_heads
WHERE stream = ANY($1::text[])
"""
# Arrays travel as text, and the hashes as one run of bytes: an array of 1 500 elements costs
# the driver more than the server.
_MOVE: Final = """
UPDATE stream_heads AS head
SET head_offset = moved.head_offset, hash = substr($4::bytea, moved.position::int * 32 - 31, 32)
FROM unnest($1::text::int[], $2::text::bigint[], $3::text::bigint[])
    WITH ORDINALITY AS moved (stream_id, expected, head_offset, position)
WHERE head.stream_id = moved.stream_id AND head.head_offset = moved.expected
"""
_STREAMS: Final = """
SELECT stream, stream_id, epoch, head_offset, hash FROM stream_heads
WHERE $1::text IS NULL OR stream = $1 ORDER BY stream
"""
_EVENTS: Final = """
SELECT "offset", epoch, event, as_of, published_at, payload, hash, previous_hash
FROM stream_events WHERE stream_id = $1 AND "offset" > $2 ORDER BY "offset" LIMIT $3
"""


class Drafts(NamedTuple):
    """Events of one kind and time, before they have their places in their streams."""

    event: str
    as_of: datetime
    streams: Sequence[str]
    payloads: Sequence[bytes]

    def chosen(self, marks: Iterable[object]) -> Drafts:
        """Those whose mark is true."""
        keep = [position for position, mark in enumerate(marks) if mark]
        return self._replace(
            streams=[self.streams[position] for position in keep],
            payloads=[self.payloads[position] for position in keep],
        )


class StreamEvent(NamedTuple):
    """An event of the log as subscribers are given it."""

    stream: str
    epoch: str
    offset: int
    event: str
    as_of: datetime
    published_at: datetime
    payload: bytes
    hash: bytes
    previous_hash: bytes


Head = tuple[int, str, int, bytes]  # number of the stream, epoch, last offset, its hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The first event of a stream that is not as it was published."""

    stream: str
    offset: int
    reason: str


class StaleHeadsError(Exception):
    """Another writer has moved a head that this process remembered."""


class StreamLog:
    """Appends to the log; remembers the heads that this process has committed."""

    def __init__(self) -> None:
        self._heads: dict[str, Head] = {}

    async def open(self, connection: asyncpg.Connection, streams: Iterable[str]) -> None:
        """Know the heads of `streams`; new streams are entered. Not within a transaction."""
        unknown = sorted(set(streams) - self._heads.keys())
        if unknown:
            await connection.execute(_CREATE, unknown)
            for stream, *head in await connection.fetch(_HEADS, unknown):
                self._heads[stream] = tuple(head)

    def extend(self, published_at: datetime) -> Extension:
        """Begin to append; nothing is written yet."""
        return Extension(self._heads, from_ms(to_ms(published_at)))

    def remember(self, extension: Extension) -> None:
        """The extension is committed."""
        self._heads.update(extension.heads)

    def forget(self, streams: Iterable[str]) -> None:
        """Read these heads again before the next append."""
        for stream in streams:
            self._heads.pop(stream, None)


class Extension:
    """Events in their places behind the heads of their streams, not yet committed."""

    def __init__(self, heads: dict[str, Head], published_at: datetime) -> None:
        self.heads: dict[str, Head] = {}
        self.events: list[StreamEvent] = []
        self._before = heads
        self._published_at = published_at  # whole milliseconds, as it is spelt
        self._rows: list[Rows] = []

    def add(self, drafts: Drafts) -> None:
        """Append events to the chains."""
        if not drafts.streams:
            return
        moment = self._published_at
        suffix = f"\n{drafts.event}\n{rfc3339(drafts.as_of)}\n{rfc3339(moment)}\n".encode()
        heads, before, places = self.heads, self._before, []
        for stream, payload in zip(drafts.streams, drafts.payloads, strict=True):
            number, epoch, last, previous = heads.get(stream) or before[stream]
            offset = last + 1
            place = f"{previous.hex()}\n{stream}\n{epoch}\n{offset}".encode()
            digest = sha256(b"".join((place, suffix, payload))).digest()
            heads[stream] = (number, epoch, offset, digest)
            places.append((number, epoch, offset, digest, previous))
        self._place(drafts, *zip(*places, strict=True))

    def _place(
        self,
        drafts: Drafts,
        numbers: Sequence[int],
        epochs: Sequence[str],
        offsets: Sequence[int],
        *hashes: Sequence[bytes],
    ) -> None:
        columns = {
            "stream_id": np.array(numbers, dtype=np.int64),
            "offset": np.array(offsets, dtype=np.int64),
            "epoch": epochs,
            "event": drafts.event,
            "as_of": drafts.as_of,
            "published_at": self._published_at,
            "hash": hashes[0],
            "previous_hash": hashes[1],
            "payload": drafts.payloads,
        }
        self._rows.append(Rows(stream_events, len(numbers), columns))
        same = (repeat(drafts.event), repeat(drafts.as_of), repeat(self._published_at))
        fields = zip(drafts.streams, epochs, offsets, *same, drafts.payloads, *hashes)  # noqa: B905 - `repeat` has no end
        self.events += map(StreamEvent._make, fields)

    async def write(self, connection: asyncpg.Connection) -> None:
        """Move the heads and store the events, within the caller's transaction.

        Raises:
            StaleHeadsError: a head is not where this process left it.
        """
        if not self.events:
            return
        numbers, _, offsets, hashes = zip(*self.heads.values(), strict=True)
        expected = [self._before[stream][2] for stream in self.heads]
        status = await connection.execute(
            _MOVE, _array(numbers), _array(expected), _array(offsets), b"".join(hashes)
        )
        if status != f"UPDATE {len(numbers)}":
            raise StaleHeadsError(status)
        await append(connection, self._rows)


def _array(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def event_hash(event: StreamEvent) -> bytes:
    """The hash that the event must carry, from everything else in it."""
    fields = (
        event.previous_hash.hex(),
        event.stream,
        event.epoch,
        str(event.offset),
        event.event,
        rfc3339(event.as_of),
        rfc3339(event.published_at),
    )
    return sha256("\n".join((*fields, "")).encode() + event.payload).digest()


async def verify(connection: asyncpg.Connection, stream: str | None = None) -> Break | None:
    """Recompute the chain of one stream, or of all in the order of their names.

    Returns:
        The first event that is edited, missing, back-dated or beyond the head; None when
        the log is whole.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for name, *head in await connection.fetch(_STREAMS, stream):
            found = await _verify_stream(connection, name, tuple(head))
            if found is not None:
                return found
    return None


async def _verify_stream(connection: asyncpg.Connection, stream: str, head: Head) -> Break | None:
    number, epoch, head_offset, head_hash = head
    offset, previous = 0, FIRST_HASH
    while page := await connection.fetch(_EVENTS, number, offset, _PAGE):
        for found_offset, *fields in page:
            event = StreamEvent(stream, fields[0], found_offset, *fields[1:])
            reason = _fault(event, offset + 1, previous, epoch)
            if reason:
                return Break(stream=stream, offset=offset + 1, reason=reason)
            offset, previous = event.offset, event.hash
    if (offset, previous) != (head_offset, head_hash):
        at = min(offset, head_offset) + 1
        return Break(stream=stream, offset=at, reason=f"the head says {head_offset} events")
    return None


def _fault(event: StreamEvent, offset: int, previous: bytes, epoch: str) -> str:
    if event.offset != offset:
        return "missing"
    if event.epoch != epoch:
        return f"of another epoch, {event.epoch}"
    if event.previous_hash != previous:
        return "does not follow the event before it"
    return "" if event.hash == event_hash(event) else "its content does not give its hash"
