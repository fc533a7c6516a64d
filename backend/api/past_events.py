"""Pages of a stream's log, for the socket's `history` and for REST."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any, Literal, NamedTuple

import asyncpg
import orjson

from backend.api.callers import Caller
from backend.api.messages import Position
from backend.api.problems import ProblemError
from backend.store.stream_log import StreamEvent, log_of
from backend.store.stream_reads import Log, offsets_at, read_log, read_range
from backend.store.told_events import is_row, meet_head
from domain.errors import StoreError, nearest, shortened
from domain.market import rfc3339


class Asked(NamedTuple):
    """Which page: behind `since` oldest first, or before it newest first."""

    stream: str
    since: Position | None
    start: datetime | None
    to: datetime | None
    limit: int
    order: Literal["asc", "desc"]


class EventPage(NamedTuple):
    """Events as they are served, and the `since` of the next page."""

    data: list[dict[str, Any]]
    following: Position | None


async def log_with(connection: asyncpg.Connection, caller: Caller, stream: str) -> Log:
    """The log that has `stream`, which `caller` may hear.

    Raises:
        ProblemError: `unknown_stream`, with the nearest of its log that the caller may hear;
            `not_as_it_was`: the head of its log was edited.
    """
    try:
        log = await read_log(connection, log_of(stream))
    except StoreError as error:
        meet_head(log_of(stream), error)
        raise ProblemError("not_as_it_was", str(error)) from error
    heard = caller.streams(log.places) if log else []
    if log is None or stream not in heard:
        near = nearest(stream, heard)
        detail = f"stream {shortened(stream)!r} has no event; GET /v1/streams lists them"
        raise ProblemError("unknown_stream", detail, suggestions=near)
    return log


async def read_events(
    connection: asyncpg.Connection, caller: Caller, asked: Asked, known: Iterable[str]
) -> EventPage:
    """A page of one stream's events; none of a `known` one that has not begun.

    It ends before an event that was edited and is no row any more; no page begins with one.

    Raises:
        ProblemError: `unknown_stream`, `epoch_changed`, `unknown_offset`, `not_as_it_was`.
    """
    try:
        log = await log_with(connection, caller, asked.stream)
    except ProblemError as problem:
        if problem.code == "unknown_stream" and asked.stream in caller.streams(known):
            return EventPage([], None)
        raise
    head = log.offsets[log.places[asked.stream] - 1]
    first = log.base.behind(asked.stream).offset
    _refuse(asked, log, head, first)
    low, high = first, head
    if asked.start is not None:
        low = (await offsets_at(connection, log, [asked.stream], asked.start))[asked.stream]
    if asked.to is not None:
        high = (await offsets_at(connection, log, [asked.stream], asked.to))[asked.stream]
    if asked.order == "asc":
        low = max(low, asked.since.offset if asked.since else 0)
        near, far = low, min(high, low + asked.limit)
    else:
        high = min(high, asked.since.offset - 1 if asked.since else high)
        near, far = max(low, high - asked.limit), high
    found = await read_range(connection, log, asked.stream, near, far) if far > near else []
    _refuse_another(asked, found)
    if asked.order == "desc":
        found.reverse()
    events = _whole(found)
    more = far < high if asked.order == "asc" else near > low
    more = more or len(events) < len(found)
    following = Position(epoch=log.epoch, offset=events[-1].offset) if events and more else None
    return EventPage([event_row(event) for event in events], following)


def _whole(events: Sequence[StreamEvent]) -> list[StreamEvent]:
    """The events before the first that is no row any more.

    Raises:
        ProblemError: that is the first of them all.
    """
    whole = [*takewhile(is_row, events)]
    if events and not whole:
        raise edited(events[0])
    return whole


def edited(event: StreamEvent) -> ProblemError:
    """The problem of an event that was edited, and cannot be told."""
    detail = (
        f"event {event.offset} of {event.stream} was edited and is no row any more;"
        f" who begins behind it (offset {event.offset}) is told what follows"
    )
    return ProblemError(
        "not_as_it_was", detail, stream=event.stream, epoch=event.epoch, offset=event.offset
    )


def _refuse_another(asked: Asked, events: Sequence[StreamEvent]) -> None:
    """See that the event behind which these follow is the one that the client has."""
    since = asked.since
    if since is None or since.hash is None or asked.order == "desc" or not events:
        return
    first = events[0]
    if first.offset == since.offset + 1 and first.previous_hash.hex() != since.hash:
        raise ProblemError("epoch_changed", f"the event at {since.offset} is another one")


def event_row(event: StreamEvent) -> dict[str, Any]:
    """An event as it is served; `data` to the byte as it was published."""
    return {
        "stream": event.stream,
        "epoch": event.epoch,
        "offset": event.offset,
        "event": event.event,
        "as_of": rfc3339(event.as_of),
        "ts": rfc3339(event.published_at),
        "hash": event.hash.hex(),
        "previous_hash": event.previous_hash.hex(),
        "data": orjson.Fragment(event.payload),
    }


def _refuse(asked: Asked, log: Log, head: int, first: int) -> None:
    since = asked.since
    if since is None:
        return
    if since.epoch is not None and since.epoch != log.epoch:
        raise ProblemError("epoch_changed", f"the log began anew; its epoch is {log.epoch}")
    if since.offset > head + 1:
        raise ProblemError("unknown_offset", f"the stream stands at {head}")
    if since.offset < first and asked.order == "asc":
        detail = f"events up to {first} are no longer kept; since={first} has all that there are"
        raise ProblemError("unknown_offset", detail)
