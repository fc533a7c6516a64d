"""What the record has new, for those who follow it from the store: the log, states of sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from backend.store.sources import status_of
from backend.store.stream_log import dated, split_hashes, split_payloads
from domain.market import EPOCH
from domain.sources import UNASKED, SourceStatus

SOURCES: Final = "source_states"  # followed as a log; a position is a microsecond
_MICROSECOND: Final = timedelta(microseconds=1)

_HEADS: Final = """
SELECT log, block FROM stream_heads WHERE split_part(log, '.', 1) = ANY($1::text[]) ORDER BY log
"""
_BLOCKS: Final = f"""
SELECT epoch, streams, event, {dated("published_at")}, places, b.offsets, ends, payloads, b.hashes
FROM stream_blocks b JOIN stream_heads USING (log)
WHERE log = $1 AND b.block > $2 AND b.block <= $3 AND event = ANY($4::text[]) ORDER BY b.block
"""  # noqa: S608 - names are ours
# The index: source_states_known_at_idx. What was noted at one moment comes whole; behind a moment
# that no clock has told nothing would ever be new.
_CHANGES: Final = f"""
SELECT source, state, {dated("since")}, reason, known_at FROM source_states
WHERE known_at > $1 AND known_at < '9999-01-01Z'
ORDER BY known_at, source FETCH FIRST 500 ROWS WITH TIES
"""  # noqa: S608 - names are ours
_NEWEST: Final = "SELECT max(known_at) FROM source_states WHERE known_at < '9999-01-01Z'"
_STATES: Final = f"""
SELECT DISTINCT ON (source) source, state, {dated("since")}, reason FROM source_states
WHERE known_at <= $1 AND state <> 'off' AND reason <> $2 ORDER BY source, known_at DESC
"""  # noqa: S608 - names are ours


class Followed(NamedTuple):
    """An event of the log, without the hash of the one before it."""

    stream: str
    epoch: str
    offset: int
    event: str
    published_at: datetime
    payload: bytes
    hash: bytes


async def heads(pool: asyncpg.Pool, channels: Sequence[str]) -> dict[str, int]:
    """The last position of each log of these channels of streams: all up to it is committed."""
    found = {row["log"]: row["block"] for row in await pool.fetch(_HEADS, channels)}
    if SOURCES in channels:
        newest = await pool.fetchval(_NEWEST)
        found[SOURCES] = _position(newest or EPOCH)
    return found


async def changes(pool: asyncpg.Pool, after: int) -> list[tuple[int, SourceStatus]]:
    """The next states of sources with their positions, in the order in which they were seen."""
    found = await pool.fetch(_CHANGES, moment(after))
    return [(_position(row["known_at"]), status_of(row)) for row in found]


async def states(pool: asyncpg.Pool, until: int) -> list[SourceStatus]:
    """What each source was last said to be; that it is off, or not asked yet, says nothing."""
    return [status_of(row) for row in await pool.fetch(_STATES, moment(until), UNASKED)]


def moment(position: int) -> datetime:
    """The time that a position of the states of sources is."""
    return EPOCH + position * _MICROSECOND


def _position(at: datetime) -> int:
    return (at - EPOCH) // _MICROSECOND


async def blocks(
    pool: asyncpg.Pool, log: str, *, after: int, until: int, events: Sequence[str]
) -> list[list[Followed]]:
    """The events of the blocks after < number ≤ until that are named so, a list for each block."""
    found = await pool.fetch(_BLOCKS, log, after, until, events)
    return [[*_events(row)] for row in found]


def _events(row: asyncpg.Record) -> Iterator[Followed]:
    payloads = split_payloads(row["payloads"], row["ends"])
    columns = (row["places"], row["offsets"], payloads, split_hashes(row["hashes"]))
    for place, offset, payload, digest in zip(*columns, strict=False):
        if place not in range(1, len(row["streams"]) + 1):
            continue  # it was edited: `verify` says so
        stream = row["streams"][place - 1]
        yield Followed(
            stream, row["epoch"], offset, row["event"], row["published_at"], payload, digest
        )
