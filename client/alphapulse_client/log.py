"""The log of a stream by pages: what a socket does not tell again, and its verification."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Final
from urllib.parse import quote

from alphapulse_client.errors import (
    ChainBrokenError,
    HistoryLostError,
    ProblemError,
    ProtocolError,
)
from alphapulse_client.events import FIRST_HASH, Position, Update, follow, update_of
from alphapulse_client.exact import page
from alphapulse_client.rest import Rest

PAGE: Final = 1_000  # events
_LOST: Final = ("epoch_changed", "unknown_offset")


def path_of(stream: str, what: str) -> str:
    """Where `what` of a stream is.

    >>> path_of("signals.1h.binance.BTC/USDT", "head")
    '/v1/streams/signals.1h.binance.BTC/USDT/head'
    """
    return f"/v1/streams/{quote(stream, safe='/')}/{what}"


async def head_of(rest: Rest, stream: str) -> Position:
    """The last event of a stream, by its head.

    Raises:
        ProblemError, UnreachableError, ProtocolError: it cannot be had.
    """
    answer = await rest.get(path_of(stream, "head"), {})
    try:
        (row,), _ = page(answer.text)
        said = row[0]
        return Position(said["epoch"], said["offset"], said["hash"])
    except (ValueError, KeyError) as error:
        raise ProtocolError(f"the head of {stream} cannot be read: {error!r}") from error


async def events(
    rest: Rest, stream: str, after: Position, *, start: datetime | None = None
) -> AsyncGenerator[Update]:
    """The events behind a position, up to the head; nothing of their chain was checked.

    Args:
        rest: asks for them.
        stream: whose.
        after: their offsets may begin later, and may have holes.
        start: leave out what was published before.

    Raises:
        ProblemError, UnreachableError, ProtocolError: they cannot be had.
        ChainBrokenError: one was edited, and the server cannot tell it.
    """
    asked = {"since": after.offset, "epoch": after.epoch, "start": start, "limit": PAGE}
    async with aclosing(rest.pages(path_of(stream, "events"), asked)) as pages:
        async for answer in pages:
            try:
                rows, _ = page(answer.text)
            except ValueError as error:
                raise ProtocolError(f"events of {stream} cannot be read: {error}") from error
            for row in rows:
                yield update_of(row)


async def missed(rest: Rest, stream: str, after: Position) -> AsyncGenerator[Update]:
    """All events behind a position, in order.

    Raises:
        HistoryLostError: not all can be had.
        ChainBrokenError: one is not as it was published.
        ProblemError, UnreachableError, ProtocolError: as `events`.
    """
    try:
        head = await head_of(rest, stream)
        async with aclosing(events(rest, stream, after)) as behind:
            async for update in behind:
                if update.offset != after.offset + 1:
                    raise HistoryLostError(stream, "offset_expired")
                follow(update, after)
                yield update
                after = update.position
    except ProblemError as problem:
        if problem.code in _LOST:
            raise HistoryLostError(stream, problem.code) from problem
        raise
    if after.offset < head.offset:
        raise HistoryLostError(stream, "offset_expired")


async def position_at(rest: Rest, stream: str, start: datetime) -> Position:
    """Behind the last event that was published before a time.

    Raises:
        ProblemError, UnreachableError, ProtocolError: as `events`.
    """
    async with aclosing(events(rest, stream, Position(None, 0), start=start)) as found:
        async for first in found:
            return Position(first.epoch, first.offset - 1, first.previous_hash)
    return await head_of(rest, stream)


async def verify(
    rest: Rest, stream: str, from_offset: int = 0, head: Position | None = None
) -> Position:
    """Recompute the chain of a stream from an event on, up to its head.

    Args:
        rest: asks for it.
        stream: whose.
        from_offset: the event behind which to begin.
        head: the last event as it was at an earlier time, kept elsewhere: the chain must have it.

    Returns:
        The last event, to be kept.

    Raises:
        ChainBrokenError: names the first event that is edited, missing or dated otherwise.
        HistoryLostError: the log began anew since `head` was noted.
        ProblemError, UnreachableError, ProtocolError: it cannot be had.
    """
    last = await head_of(rest, stream)
    if head is not None and head.epoch != last.epoch:
        raise HistoryLostError(stream, "epoch_changed")
    known = [last] if head is None else [head, last]
    place = Position(last.epoch, from_offset, FIRST_HASH if from_offset == 0 else None)
    async for update in events(rest, stream, place):
        if update.offset != place.offset + 1:
            raise ChainBrokenError(stream, place.offset + 1, "missing")
        follow(update, place)
        place = update.position
        if any(one.offset == place.offset and one.hash != place.hash for one in known):
            raise ChainBrokenError(stream, place.offset, "the head says that it was another")
    if (said := max(one.offset for one in known)) > place.offset:
        raise ChainBrokenError(stream, place.offset + 1, f"missing: the head says {said} events")
    return place
