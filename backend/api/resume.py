"""Where a subscription begins: whether all that a client missed can be told again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from backend.api.connection import Head
from backend.api.messages import FromTime, Position, Since, SinceEach
from backend.store.stream_reads import START, Log, Place, by_log, find_places, offsets_at, read_log
from backend.store.told_events import meet_head
from domain.errors import StoreError

EVERY: Final = "*"
NOWHERE: Final = Head(None, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """How a stream of a subscription begins.

    Attributes:
        head: where its log stood when this was decided.
        place: behind which all events follow; None: with a snapshot, or at the head.
        reason: why there is no such place though one was asked for.
    """

    head: Head
    place: Place | None = None
    reason: str | None = None

    def public(self, stream: str) -> dict[str, Any]:
        """What the reply says of it."""
        said = {"stream": stream, "epoch": self.head.epoch, "offset": self.head.offset}
        if self.place is not None:
            return {**said, "recovered": True, "replay": self.head.offset - self.place.offset}
        if self.reason is not None:
            return {**said, "recovered": False, "reason": self.reason}
        return said


def since_of(since: SinceEach | None, stream: str) -> Since | None:
    """What a request says of one stream."""
    if isinstance(since, dict):
        return since.get(stream, since.get(EVERY))
    return since


def refusal(asked: Position, head: Head, most: int) -> str | None:
    """Why the events behind `asked` cannot be told by what the head says; None if they may be."""
    if asked.epoch != head.epoch and (asked.epoch is not None or asked.offset):
        return "epoch_changed"
    if asked.offset > head.offset:
        return "unknown_offset"
    return "too_far" if head.offset - asked.offset > most else None


async def beginnings(
    connection: asyncpg.Connection,
    streams: Iterable[str],
    since: SinceEach | None,
    heads: Mapping[str, Head],
    most: int,
) -> dict[str, Begin]:
    """How each of `streams` begins.

    Args:
        connection: in the transaction in which `heads` were read.
        streams: that are subscribed to.
        since: what the client asks.
        heads: of all streams that have a log.
        most: events of one stream that are told again.
    """
    found: dict[str, Begin] = {}
    sought: dict[str, FromTime | Position] = {}
    for stream in streams:
        head = heads.get(stream, NOWHERE)
        asked = since_of(since, stream)
        found[stream] = Begin(head=head)
        if isinstance(asked, str):  # "head"
            asked = Position(epoch=head.epoch, offset=head.offset)
        if isinstance(asked, Position) and (reason := refusal(asked, head, most)):
            found[stream] = Begin(head=head, reason=reason)
        elif asked is not None and head == NOWHERE:
            found[stream] = Begin(head=head, place=START)
        elif asked is not None:
            sought[stream] = asked
    for name, named in by_log(list(sought)).items():
        about = {stream: sought[stream] for stream in named}
        found.update(await _begun(connection, name, about, heads, most))
    return found


async def _begun(
    connection: asyncpg.Connection,
    name: str,
    asked: Mapping[str, FromTime | Position],
    heads: Mapping[str, Head],
    most: int,
) -> dict[str, Begin]:
    """How streams of one log begin; of one whose head was edited nothing can be told again."""
    try:
        log = await read_log(connection, name)
    except StoreError as error:
        meet_head(name, error)
        return {stream: Begin(head=heads[stream], reason="not_as_it_was") for stream in asked}
    return {} if log is None else await _in_log(connection, log, asked, heads, most)


async def _in_log(
    connection: asyncpg.Connection,
    log: Log,
    asked: Mapping[str, FromTime | Position],
    heads: Mapping[str, Head],
    most: int,
) -> dict[str, Begin]:
    offsets = {name: one.offset for name, one in asked.items() if isinstance(one, Position)}
    begun: dict[str, Begin] = {}
    for moment in {one.time for one in asked.values() if isinstance(one, FromTime)}:
        of_moment = [name for name, one in asked.items() if one == FromTime(time=moment)]
        if moment <= log.base.published_at:
            begun |= {name: _expired(heads[name]) for name in of_moment}
        else:
            offsets |= await offsets_at(connection, log, of_moment, moment)
    far = {name for name, offset in offsets.items() if heads[name].offset - offset > most}
    near = {name: offset for name, offset in offsets.items() if name not in far}
    places = await find_places(connection, log, near)
    for name in offsets:
        place = places.get(name)
        if place is None:
            told = Begin(head=heads[name], reason="too_far")
            begun[name] = told if name in far else _expired(heads[name])
        elif _another(asked[name], place):
            begun[name] = Begin(head=heads[name], reason="epoch_changed")
        else:
            begun[name] = Begin(head=heads[name], place=place)
    return begun


def _expired(head: Head) -> Begin:
    return Begin(head=head, reason="offset_expired")


def _another(asked: FromTime | Position, place: Place) -> bool:
    """Whether the event there is not the one that the client has."""
    known = asked.hash if isinstance(asked, Position) else None
    return known is not None and known != place.hash.hex()
