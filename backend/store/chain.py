"""Verification of the stream log: the chain of every stream, recomputed from what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import asyncpg

from backend.store.stream_log import (
    Heads,
    StreamEvent,
    dated,
    event_hash,
    log_of,
    read_heads,
    split_hashes,
    split_payloads,
)
from backend.store.stream_reads import read_base
from domain.errors import StoreError

_PAGE: Final = 20  # blocks that are held at a time

_LOGS: Final = "SELECT log FROM stream_heads WHERE $1::text IS NULL OR log = $1 ORDER BY log"
_SIZE: Final = """
SELECT count(*) AS streams, coalesce(sum(last), 0)::bigint AS events,
    (SELECT coalesce(sum(dropped), 0)::bigint FROM stream_bases, unnest(offsets) AS dropped)
FROM stream_heads, unnest(offsets) AS last
"""
_BLOCKS: Final = f"""
SELECT block, event, {dated("as_of")}, {dated("published_at")},
    places, offsets, ends, payloads, hashes
FROM stream_blocks WHERE log = $1 AND block > $2 ORDER BY block LIMIT $3
"""  # noqa: S608 - names are ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """An event of a stream that is not as it was published."""

    stream: str
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"stream {self.stream}: offset {self.offset}: {self.reason}"


async def verify(connection: asyncpg.Connection, stream: str | None = None) -> Break | None:
    """The first of `breaks`; None when everything is whole."""
    return next(iter(await breaks(connection, stream)), None)


async def breaks(connection: asyncpg.Connection, stream: str | None = None) -> list[Break]:
    """Recompute the chain of one stream, or of all, log by log in the order of their names.

    A log whose older events were dropped is recomputed from the hashes of the last of them on.

    Returns:
        Of each log the first event, in the order of publication, that is edited, missing,
        back-dated or beyond the head: those after it cannot be judged. Of one whose events are
        whole, that its head names another block as the last.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        logs = await connection.fetch(_LOGS, None if stream is None else log_of(stream))
        found = [await _verify_log(connection, row["log"], stream) for row in logs]
    return [one for one in found if one is not None]


async def size(connection: asyncpg.Connection) -> tuple[int, int, int]:
    """How many streams there are, events that are kept of them, and events that were dropped."""
    streams, events, dropped = await connection.fetchrow(_SIZE)
    return streams, events - dropped, dropped


async def _verify_log(connection: asyncpg.Connection, log: str, stream: str | None) -> Break | None:
    try:
        heads, base = await read_heads(connection, log), await read_base(connection, log)
    except StoreError as error:  # what is behind such a head is of no stream
        return Break(stream=log, offset=0, reason=str(error))
    names = list(heads.places)
    begins = [base.behind(name) for name in names]
    told = Heads(
        epoch=heads.epoch,
        block=base.block,
        places=heads.places,
        offsets=[place.offset for place in begins],
        hashes=[place.hash for place in begins],
    )
    while page := await connection.fetch(_BLOCKS, log, told.block, _PAGE):
        for row in page:
            told.block = row["block"]
            for event in _events(row, names, told):
                if stream is not None and event.stream != stream:
                    continue
                reason = _fault(event, told)
                if reason:
                    offset = told.offsets[told.places[event.stream]] + 1
                    return Break(stream=event.stream, offset=offset, reason=reason)
                place = told.places[event.stream]
                told.offsets[place], told.hashes[place] = event.offset, event.hash
    return _beyond(heads, told, names if stream is None else [stream]) or _ends_elsewhere(
        log, heads, told
    )


def _events(row: asyncpg.Record, names: list[str], told: Heads) -> Iterator[StreamEvent]:
    """The events of a block; those that its lists do not hold together come out empty."""
    payloads = split_payloads(row["payloads"], row["ends"])
    hashes = split_hashes(row["hashes"])
    for number, (place, offset) in enumerate(zip(row["places"], row["offsets"], strict=False)):
        if isinstance(place, int) and 1 <= place <= len(names):
            yield StreamEvent(
                names[place - 1],
                told.epoch,
                offset,
                row["event"],
                row["as_of"],
                row["published_at"],
                payloads[number] if number < len(payloads) else b"",
                hashes[number] if number < len(hashes) else b"",
                told.hashes[place - 1],
            )


def _fault(event: StreamEvent, told: Heads) -> str:
    if event.offset != told.offsets[told.places[event.stream]] + 1:
        return "missing"
    return "" if event.hash == event_hash(event) else "its content does not give its hash"


def _beyond(heads: Heads, told: Heads, streams: list[str]) -> Break | None:
    for stream in streams:
        place = heads.places.get(stream)
        if place is None:
            continue
        said, found = heads.offsets[place], told.offsets[place]
        if (said, heads.hashes[place]) != (found, told.hashes[place]):
            at = min(said, found) + 1
            return Break(stream=stream, offset=at, reason=f"the head says {said} events")
    return None


def _ends_elsewhere(log: str, heads: Heads, told: Heads) -> Break | None:
    if heads.block == told.block:
        return None
    reason = f"the head was edited: it says block {heads.block}, and block {told.block} is the last"
    return Break(stream=log, offset=0, reason=reason)
