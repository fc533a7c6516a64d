"""The stream log: what was published, in order, each event chained to the one before it.

The hash of an event is SHA-256 over UTF-8 text: eight fields, each but the last followed
by a line feed —

    previous_hash (64 hex digits; zeros before offset 1), stream, epoch, offset, event,
    as_of, published_at (both RFC 3339 with milliseconds and Z), payload

where payload is the exact bytes of the row's JSON (`data` on the socket). Offsets of a
stream count from 1 without a hole; its head repeats the last offset and hash. An edited,
missing or back-dated event therefore breaks the chain at its offset. `published_at` never
goes back in a log: where the clock does, it is that of the event before.

Streams are kept by log: `signals.1h.binance` has those of all its instruments. The events
that a batch makes are one row of `stream_blocks`, and a log's heads one row of
`stream_heads`: a tick of 500 instruments moves three heads and adds three rows. The view
`stream_events` has a row for each event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

import asyncpg
import numpy as np

from backend.store.copy import Rows, message
from backend.store.database import CONNECTION_ERRORS, affected
from backend.store.locks import take_turn
from backend.store.tables import stream_blocks
from domain.errors import StoreError
from domain.market import EPOCH, from_ms, rfc3339, to_ms

FIRST_HASH: Final = bytes(32)
HASH_BYTES: Final = 32
ATTEMPTS: Final = 4  # times that another writer may be faster
_CREATE: Final = "INSERT INTO stream_heads (log) VALUES ($1) ON CONFLICT (log) DO NOTHING"
_LOCK: Final = "SELECT streams FROM stream_heads WHERE log = $1 FOR UPDATE"
_ENTER: Final = """
UPDATE stream_heads SET streams = streams || $2::text[],
    offsets = offsets || array_fill(0::bigint, ARRAY[$3::int]),
    hashes = hashes || decode(repeat('00', 32 * $3::int), 'hex')
WHERE log = $1
"""
# A time that no clock has told was edited: `verify` names it, and no later event is dated by it.
_HEAD: Final = """
SELECT epoch, block, streams, head.offsets, head.hashes,
    CASE WHEN published_at BETWEEN '1970-01-01Z' AND '9999-01-01Z' THEN published_at END
FROM stream_heads AS head LEFT JOIN stream_blocks USING (log, block) WHERE log = $1
"""
_HASHES: Final = "SELECT hashes FROM stream_blocks WHERE log = $1 AND block = $2"
# The offsets travel as text: that costs the driver less than an array.
_MOVE: Final = """
UPDATE stream_heads SET block = $3, offsets = $4::text::bigint[], hashes = $5
WHERE log = $1 AND block = $2
"""


class Drafts(NamedTuple):
    """Events of one kind, time and log, before they have their places in their streams."""

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


class StaleHeadsError(Exception):
    """Another writer has moved a head that this process remembered."""


@dataclass(slots=True, kw_only=True)
class Heads:
    """Where the streams of one log stand."""

    epoch: str
    block: int  # the last
    places: dict[str, int]  # stream → its index in the lists
    offsets: list[int]
    hashes: list[bytes]
    published_at: datetime = EPOCH  # of the last

    def copy(self) -> Heads:
        """One that can be moved apart from this."""
        return Heads(
            epoch=self.epoch,
            block=self.block,
            places=self.places,
            offsets=self.offsets.copy(),
            hashes=self.hashes.copy(),
            published_at=self.published_at,
        )


def log_of(stream: str) -> str:
    """The log that `stream` is kept in.

    >>> log_of("signals.1h.binance.BTC/USDT"), log_of("models")
    ('signals.1h.binance', 'models')
    """
    return ".".join(stream.split(".", 3)[:3])


class StreamLog:
    """Appends to the log; remembers the heads that this process has committed."""

    def __init__(self) -> None:
        self._heads: dict[str, Heads] = {}
        self._doubted: list[Extension] = []  # nobody knows whether they are committed

    async def append(
        self,
        connection: asyncpg.Connection,
        streams: Sequence[Sequence[str]],
        write: Callable[[Extension], Awaitable[None]],
        *,
        turns: Iterable[str],
        published_at: datetime,
    ) -> list[StreamEvent]:
        """Commit what `write` adds, with whatever else it writes, in one transaction.

        Args:
            connection: not within a transaction.
            streams: that it may extend; each sequence of one log.
            write: adds to the extension and writes it; called again where another was faster.
            turns: names of turns that are taken first.
            published_at: of the events.

        Returns:
            The events, after those of commits before whose answers were lost.

        Raises:
            StoreError: other writers are faster, again and again.
        """
        turns = set(turns)
        for _ in range(ATTEMPTS):
            await self.open(connection, streams)
            extension = self.extend(published_at)
            try:
                async with connection.transaction():
                    await take_turn(connection, turns)
                    doubted = [one for one in self._doubted if one.is_of(streams)]
                    untold = await _settled(connection, doubted, extension)
                    await write(extension)
            except StaleHeadsError:
                self.forget(streams)
            except CONNECTION_ERRORS:
                if extension.events:
                    self._doubted.append(extension)
                raise
            else:
                self.remember(extension)
                self._doubted = [one for one in self._doubted if one not in doubted]
                return [*untold, *extension.events]
        raise StoreError("other writers move the same streams without pause")

    async def open(self, connection: asyncpg.Connection, streams: Iterable[Sequence[str]]) -> None:
        """Know the heads of `streams`; new ones are entered. Not within a transaction.

        Args:
            connection: any.
            streams: each sequence of one log.
        """
        for named in streams:
            log = log_of(named[0])
            heads = self._heads.get(log)
            if heads is None or not heads.places.keys() >= set(named):
                await _enter(connection, log, named)
                self._heads[log] = await read_heads(connection, log)

    def extend(self, published_at: datetime) -> Extension:
        """Begin to append; nothing is written yet."""
        return Extension(dict(self._heads), from_ms(to_ms(published_at)))

    def remember(self, extension: Extension) -> None:
        """The extension is committed."""
        self._heads.update(extension.heads)

    def forget(self, streams: Iterable[Sequence[str]]) -> None:
        """Read these heads again before the next append."""
        for named in streams:
            self._heads.pop(log_of(named[0]), None)


async def _enter(connection: asyncpg.Connection, log: str, streams: Iterable[str]) -> None:
    async with connection.transaction():
        await connection.execute(_CREATE, log)
        known = await connection.fetchval(_LOCK, log)
        new = sorted(set(streams) - set(known))
        if new:
            await connection.execute(_ENTER, log, new, len(new))


async def read_heads(connection: asyncpg.Connection, log: str) -> Heads:
    """The heads of an existing log, as they are committed.

    Raises:
        StoreError: they were edited, and do not hold together.
    """
    epoch, block, streams, offsets, hashes, last = await connection.fetchrow(_HEAD, log)
    see_whole(log, streams, offsets, hashes)
    return Heads(
        epoch=epoch,
        block=block,
        places={stream: place for place, stream in enumerate(streams)},
        offsets=offsets,
        hashes=split_hashes(hashes),
        published_at=last or EPOCH,
    )


def see_whole(
    log: str, streams: Sequence[object], offsets: Sequence[object], hashes: bytes
) -> None:
    """See that a log's head has a name, an offset and a hash for each of its streams.

    Raises:
        StoreError: it has not.
    """
    names = {one for one in streams if isinstance(one, str)}
    places = sum(isinstance(one, int) for one in offsets)
    if not len(names) == places == len(streams) == len(offsets) == len(hashes) / HASH_BYTES:
        raise StoreError(
            f"the head of {log} was edited: it has {len(names)} streams, {places} offsets"
            f" and {len(hashes)} bytes of hashes"
        )


def dated(column: str) -> str:
    """A time of an event as SQL selects it.

    One that was edited to what no datetime can be is the nearest that can; the hash tells of it.
    """
    return f"greatest(least({column}, '9999-12-31Z'), '0001-01-02Z') AS {column}"


def split_payloads(payloads: bytes, ends: Iterable[object]) -> list[bytes]:
    """The payloads that are stored in one run of bytes; one without an end comes out empty."""
    found, start = [], 0
    for one in ends:
        end = one if isinstance(one, int) else start
        found.append(payloads[start:end])
        start = end
    return found


def split_hashes(hashes: bytes) -> list[bytes]:
    """Hashes that are stored in one run of bytes."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


class Extension:
    """Events in their places behind the heads of their streams, not yet committed."""

    def __init__(self, heads: dict[str, Heads], published_at: datetime) -> None:
        self.heads: dict[str, Heads] = {}
        self.events: list[StreamEvent] = []
        self.before = heads  # as another task may forget or move them meanwhile
        self._published_at = published_at  # whole milliseconds, as it is spelt
        self._blocks: list[bytes] = []  # rows of `stream_blocks`, encoded

    def add(self, drafts: Drafts) -> None:
        """Append events, of one log, to their chains."""
        if not drafts.streams:
            return
        log = log_of(drafts.streams[0])
        heads = self.heads.get(log) or self.before[log].copy()
        self.heads[log] = heads
        heads.block += 1
        heads.published_at = max(heads.published_at, self._published_at)
        added = self._chain(drafts, heads)
        self.events += added
        places, offsets, ends = (
            np.array([heads.places[stream] + 1 for stream in drafts.streams], dtype=np.int32),
            np.array([event.offset for event in added], dtype=np.int64),
            np.cumsum([len(payload) for payload in drafts.payloads], dtype=np.int32),
        )
        block = {
            "log": log,
            "block": np.array([heads.block]),
            "event": drafts.event,
            "as_of": drafts.as_of,
            "published_at": heads.published_at,
            "places": [places],
            "offsets": [offsets],
            "ends": [ends],
            "payloads": b"".join(drafts.payloads),
            "hashes": b"".join([event.hash for event in added]),
        }
        self._blocks.append(Rows(stream_blocks, 1, block).encode())

    def _chain(self, drafts: Drafts, heads: Heads) -> list[StreamEvent]:
        event, as_of, moment, epoch = drafts.event, drafts.as_of, heads.published_at, heads.epoch
        suffix = f"\n{event}\n{rfc3339(as_of)}\n{rfc3339(moment)}\n"
        places, offsets, hashes = heads.places, heads.offsets, heads.hashes
        added = []
        for stream, payload in zip(drafts.streams, drafts.payloads, strict=True):
            place = places[stream]
            previous, offset = hashes[place], offsets[place] + 1
            head = f"{previous.hex()}\n{stream}\n{epoch}\n{offset}{suffix}".encode()
            digest = sha256(head + payload).digest()
            hashes[place], offsets[place] = digest, offset
            added.append(
                StreamEvent(stream, epoch, offset, event, as_of, moment, payload, digest, previous)
            )
        return added

    def is_of(self, streams: Iterable[Sequence[str]]) -> bool:
        """Whether it appends to one of their logs; each sequence of one log."""
        return any(log_of(named[0]) in self.heads for named in streams)

    async def is_stored(self, connection: asyncpg.Connection) -> bool:
        """Whether the log has it; all of it is committed, or nothing."""
        last = self.events[-1]
        log = log_of(last.stream)
        hashes = await connection.fetchval(_HASHES, log, self.heads[log].block)
        return hashes is not None and hashes.endswith(last.hash)

    async def write(self, connection: asyncpg.Connection) -> None:
        """Move the heads and store the events, within the caller's transaction.

        Raises:
            StaleHeadsError: a head is not where this process left it.
        """
        for log, heads in sorted(self.heads.items()):
            offsets = "{" + ",".join(map(str, heads.offsets)) + "}"
            status = await connection.execute(
                _MOVE, log, self.before[log].block, heads.block, offsets, b"".join(heads.hashes)
            )
            if not affected(status):
                raise StaleHeadsError(log)
        if self._blocks:
            await connection.copy_to_table(
                stream_blocks.name,
                source=message(self._blocks),
                columns=stream_blocks.columns.keys(),
                format="binary",
            )


async def _settled(
    connection: asyncpg.Connection, doubted: Iterable[Extension], extension: Extension
) -> list[StreamEvent]:
    """The events of those that are committed; `extension` follows whatever is."""
    events: list[StreamEvent] = []
    for one in doubted:
        for log in one.heads:
            extension.before[log] = await read_heads(connection, log)
        if await one.is_stored(connection):
            events += one.events
    return events


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
