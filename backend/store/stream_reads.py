"""Events of streams, read back from the log: heads, the place to begin at, and pages from there.

A reader stands behind an event of its stream (offset 0: before the first). What follows is read
in pages of whole blocks, so that the events of one log come in the order of their publication.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

import asyncpg

from backend.store.stream_log import FIRST_HASH, StreamEvent, dated, log_of, see_whole, split_hashes
from domain.market import EPOCH

PAGE_EVENTS: Final = 1_000  # of a page, about
_NEAR: Final = 64  # blocks that are looked through first, then ever more
_WIDEN: Final = 8

_LOG: Final = f"""
SELECT epoch, head.block, streams, head.offsets, head.hashes, base.block AS dropped,
    base.offsets AS base_offsets, base.hashes AS base_hashes,
    {dated("published_at")}, {dated("last_as_of")}
FROM stream_heads AS head LEFT JOIN stream_bases AS base USING (log) WHERE log = $1
"""  # noqa: S608 - names are ours
_PLACES: Final = """
SELECT e.place, b.block, substr(b.hashes, (e.n::int - 1) * 32 + 1, 32) AS hash
FROM stream_blocks b CROSS JOIN unnest(b.places, b.offsets) WITH ORDINALITY AS e(place, "offset", n)
JOIN unnest($2::int[], $3::bigint[]) AS wanted(place, "offset") USING (place, "offset")
WHERE b.log = $1 AND b.block > $4 AND b.block <= $5
"""
# Ends that were edited are read as the nearest that can be, as times are.
_EVENTS: Final = f"""
SELECT e.place, e."offset", event, {dated("as_of")}, {dated("published_at")},
       substr(payloads, 1 + least(greatest(ends[n - 1], 0), length(payloads)), greatest(0,
           least(greatest(ends[n], 0), length(payloads))
           - least(greatest(ends[n - 1], 0), length(payloads))
       )) payload,
       substr(b.hashes, (n::int - 1) * 32 + 1, 32) AS hash
FROM stream_blocks b CROSS JOIN unnest(b.places, b.offsets) WITH ORDINALITY AS e(place, "offset", n)
JOIN unnest($2::int[], $3::bigint[], $4::bigint[]) AS wanted(place, after, upto) USING (place)
WHERE b.log = $1 AND b.block > $5 AND b.block <= $6 AND e."offset" > after AND e."offset" <= upto
ORDER BY b.block, n
"""  # noqa: S608 - names are ours
_BEFORE: Final = """
SELECT block FROM stream_blocks WHERE log = $1 AND published_at < $2 ORDER BY block DESC LIMIT 1
"""
_LAST: Final = """
SELECT wanted.place, coalesce(last."offset", 0) AS "offset"
FROM unnest($2::int[]) AS wanted(place) LEFT JOIN LATERAL (
    SELECT offsets[(SELECT max(n) FROM unnest(array_positions(places, wanted.place)) AS n)]
    FROM stream_blocks
    WHERE log = $1 AND block <= $3 AND wanted.place = ANY(places)
    ORDER BY block DESC LIMIT 1
) AS last("offset") ON true
"""


_BEHIND: Final = """
SELECT wanted.place, last."offset", last.hash, last.block
FROM unnest($2::int[]) AS wanted(place) CROSS JOIN LATERAL (
    SELECT offsets[n] AS "offset", substr(hashes, (n - 1) * 32 + 1, 32) AS hash, block
    FROM stream_blocks, LATERAL (
        SELECT max(n) AS n FROM unnest(array_positions(places, wanted.place)) AS n
    ) AS last
    WHERE log = $1 AND block <= $3 AND wanted.place = ANY(places)
    ORDER BY block DESC LIMIT 1
) AS last
"""


class Place(NamedTuple):
    """Behind which event a reader stands; `hash` is that event's, `block` holds it."""

    offset: int
    hash: bytes
    block: int


START: Final = Place(0, FIRST_HASH, 0)


class Base(NamedTuple):
    """What came before the oldest event that is kept.

    Attributes:
        block: the last that was dropped; 0: none was.
        places: stream → its last event that was dropped.
        published_at: of the last of them all.
        as_of: the latest of them all.
    """

    block: int = 0
    places: Mapping[str, Place] = MappingProxyType({})
    published_at: datetime = EPOCH
    as_of: datetime = EPOCH

    def behind(self, stream: str) -> Place:
        """Where the kept events of a stream begin."""
        return self.places.get(stream, START._replace(block=self.block))


class Log(NamedTuple):
    """A log as its heads say it stands."""

    name: str
    epoch: str
    block: int
    places: dict[str, int]  # stream → its number in the blocks, from 1
    offsets: Sequence[int]
    hashes: bytes
    base: Base

    @property
    def heads(self) -> dict[str, int]:
        """The last offset of each stream."""
        return dict(zip(self.places, self.offsets, strict=True))


async def read_log(connection: asyncpg.Connection, name: str) -> Log | None:
    """The log of this name; None where it has no event yet.

    Raises:
        StoreError: its head was edited, and does not hold together.
    """
    row = await connection.fetchrow(_LOG, name)
    if row is None:
        return None
    see_whole(name, row["streams"], row["offsets"], row["hashes"])
    places = {stream: number for number, stream in enumerate(row["streams"], 1)}
    base = _base(row) if row["dropped"] else Base()
    return Log(name, row["epoch"], row["block"], places, row["offsets"], row["hashes"], base)


def _base(row: asyncpg.Record) -> Base:
    dropped = zip(
        row["streams"], row["base_offsets"], split_hashes(row["base_hashes"]), strict=False
    )
    return Base(
        row["dropped"],
        {
            stream: Place(offset, digest, row["dropped"])
            for stream, offset, digest in dropped
            if isinstance(offset, int)  # else it was edited
        },
        row["published_at"],
        row["last_as_of"],
    )


async def read_base(connection: asyncpg.Connection, name: str) -> Base:
    """Where the log of this name begins."""
    log = await read_log(connection, name)
    return Base() if log is None else log.base


async def find_places(
    connection: asyncpg.Connection, log: Log, offsets: Mapping[str, int]
) -> dict[str, Place]:
    """Where the events with these offsets lie; what is not in the log is left out."""
    begins = {stream: log.base.behind(stream) for stream in offsets}
    found = {stream: place for stream, place in begins.items() if place.offset == offsets[stream]}
    names = {log.places[stream]: stream for stream in offsets if stream not in found}
    high, width = log.block, _NEAR
    while names and high > log.base.block:
        low = max(log.base.block, high - width)
        wanted = [offsets[stream] for stream in names.values()]
        for row in await connection.fetch(_PLACES, log.name, [*names], wanted, low, high):
            stream = names.pop(row["place"])
            found[stream] = Place(offsets[stream], row["hash"], row["block"])
        high, width = low, width * _WIDEN
    return found


async def offsets_at(
    connection: asyncpg.Connection, log: Log, streams: Sequence[str], moment: datetime
) -> dict[str, int]:
    """The last offset of each stream that was published before `moment`.

    Where there is none: the offset behind which its kept events begin, 0 if all are kept.
    """
    block = await connection.fetchval(_BEFORE, log.name, moment) or 0
    numbers = {log.places[stream]: stream for stream in streams}
    rows = await connection.fetch(_LAST, log.name, [*numbers], block)
    found = {numbers[row["place"]]: row["offset"] for row in rows}
    return {one: offset or log.base.behind(one).offset for one, offset in found.items()}


async def places_behind(connection: asyncpg.Connection, log: Log, block: int) -> dict[str, Place]:
    """The last event of each stream up to a block; streams that had none are left out.

    Of a stream whose last event up to there was dropped: its last event that was dropped.
    """
    names = {number: stream for stream, number in log.places.items()}
    rows = await connection.fetch(_BEHIND, log.name, [*names], block)
    found = {names[row["place"]]: Place(row["offset"], row["hash"], row["block"]) for row in rows}
    return {**log.base.places, **found}


class Reader:
    """Reads the events of some streams of one log, a page at a time, on any connection.

    Args:
        log: as it stood; what is appended later is not read.
        places: behind which event each stream is read.
        upto: the last offset that is read of each.
    """

    def __init__(self, log: Log, places: Mapping[str, Place], upto: Mapping[str, int]) -> None:
        self._log = log
        self._names = {log.places[stream]: stream for stream in places}
        self._after = [places[stream].offset for stream in self._names.values()]
        self._upto = [upto[stream] for stream in self._names.values()]
        self._hashes = {stream: place.hash for stream, place in places.items()}
        self._left = sum(max(0, to - by) for by, to in zip(self._after, self._upto, strict=True))
        begin = min((place.block for place in places.values()), default=log.block)
        self._block = max(begin, log.base.block)
        self._step = max(1, PAGE_EVENTS // max(1, len(self._names)))

    @property
    def block(self) -> int:
        """Up to which block it has read."""
        return self._block

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self._left <= 0 or self._block >= self._log.block

    async def page(self, connection: asyncpg.Connection) -> list[StreamEvent]:
        """The next events in the order of the log, about `PAGE_EVENTS`; may be empty."""
        upto = min(self._block + self._step, self._log.block)
        wanted = ([*self._names], self._after, self._upto)
        found = await connection.fetch(_EVENTS, self._log.name, *wanted, self._block, upto)
        self._block = upto
        self._left -= len(found)
        return [self._event(row) for row in found]

    def _event(self, row: asyncpg.Record) -> StreamEvent:
        place, offset, event, as_of, published_at, payload, digest = row  # half of the names' cost
        stream = self._names[place]
        previous, self._hashes[stream] = self._hashes[stream], digest
        return StreamEvent(
            stream, self._log.epoch, offset, event, as_of, published_at, payload, digest, previous
        )


def by_log(streams: Sequence[str]) -> dict[str, list[str]]:
    """The streams of each log."""
    logs: dict[str, list[str]] = {}
    for stream in streams:
        logs.setdefault(log_of(stream), []).append(stream)
    return logs


async def read_range(
    connection: asyncpg.Connection, log: Log, stream: str, low: int, high: int
) -> list[StreamEvent]:
    """The events of one stream with offsets above `low`, up to `high`, those that there are."""
    places = await find_places(connection, log, {stream: low})
    reader = Reader(log, places, {stream: high})
    events: list[StreamEvent] = []
    while not reader.ended:
        events += await reader.page(connection)
    return events
