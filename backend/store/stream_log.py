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
from typing import Any, Final, NamedTuple

import asyncpg

from backend.store.copy import Rows, message
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
_MOVE: Final = """
UPDATE stream_heads AS head SET head_offset = moved.head_offset, hash = moved.hash
FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bytea[])
    AS moved (stream_id, expected, head_offset, hash)
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


class Draft(NamedTuple):
    """An event before it has its place in the stream."""

    stream: str
    event: str
    as_of: datetime
    payload: bytes


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


class Head(NamedTuple):
    """Where a stream ends."""

    stream_id: int
    epoch: str
    offset: int
    hash: bytes


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
                self._heads[stream] = Head(*head)

    def chain(self, drafts: Sequence[Draft], published_at: datetime) -> Extension:
        """Give each draft its offset and hash; nothing is written."""
        return Extension(self._heads, drafts, published_at)

    def remember(self, extension: Extension) -> None:
        """The extension is committed."""
        self._heads.update(extension.heads)

    def forget(self, streams: Iterable[str]) -> None:
        """Read these heads again before the next append."""
        for stream in streams:
            self._heads.pop(stream, None)


class Extension:
    """Drafts in their place behind the heads of their streams."""

    def __init__(
        self, heads: dict[str, Head], drafts: Sequence[Draft], published_at: datetime
    ) -> None:
        moment = from_ms(to_ms(published_at))  # stored as it is spelt: in milliseconds
        self.heads: dict[str, Head] = {}
        self.events: list[StreamEvent] = []
        self._before = heads
        spelt = {as_of: rfc3339(as_of) for as_of in {draft.as_of for draft in drafts}}
        published = rfc3339(moment)
        for stream, event, as_of, payload in drafts:
            number, epoch, last, previous = self.heads.get(stream) or heads[stream]
            offset = last + 1
            prefix = (
                f"{previous.hex()}\n{stream}\n{epoch}\n{offset}\n{event}\n"
                f"{spelt[as_of]}\n{published}\n"
            )
            digest = sha256(prefix.encode() + payload).digest()
            self.heads[stream] = Head(number, epoch, offset, digest)
            self.events.append(
                StreamEvent(
                    stream, epoch, offset, event, as_of, moment, payload, digest, previous
                )
            )

    async def write(self, connection: asyncpg.Connection) -> None:
        """Move the heads and store the events, within the caller's transaction.

        Raises:
            StaleHeadsError: a head is not where this process left it; write nothing of it.
        """
        moved = sorted(self.heads.items(), key=lambda item: item[1].stream_id)
        status = await connection.execute(
            _MOVE,
            [head.stream_id for _, head in moved],
            [self._before[stream].offset for stream, _ in moved],
            [head.offset for _, head in moved],
            [head.hash for _, head in moved],
        )
        if status != f"UPDATE {len(moved)}":
            raise StaleHeadsError(status)
        rows = self.rows()
        await connection.copy_to_table(
            "stream_events",
            source=message([rows.encode()]),
            columns=list(rows.columns),
            format="binary",
        )

    def rows(self) -> Rows:
        """The events as rows of `stream_events`."""
        columns: list[list[Any]] = [list(column) for column in zip(*self.events, strict=True)]
        streams, epochs, offsets, names, as_of, published, payloads, hashes, previous = columns
        return Rows(
            stream_events,
            len(self.events),
            {
                "stream_id": _ints([self.heads[stream].stream_id for stream in streams]),
                "offset": _ints(offsets),
                "epoch": epochs,
                "event": names,
                "as_of": _times(as_of),
                "published_at": published[0],
                "payload": payloads,
                "hash": hashes,
                "previous_hash": previous,
            },
        )
