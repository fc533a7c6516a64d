"""REST: the streams of the log, their heads and their events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from backend.api import schemas
from backend.api.answers import answer_list, envelope, reading, state_of
from backend.api.callers import caller_of
from backend.api.described import answering, listed
from backend.api.formats import Format
from backend.api.messages import Position
from backend.api.parameters import EventSelection, Formatted
from backend.api.past_events import Asked, log_with, read_events
from backend.api.refusals import refused
from backend.api.snapshots import HEADS
from backend.api.spellings import ListAnswer
from backend.store.stream_log import split_hashes

router = APIRouter(prefix="/v1/streams", tags=["streams"])

Named = Annotated[str, Path(description="as `GET /v1/streams` names it", max_length=256)]


@router.get("", responses=listed(schemas.StreamRow))
async def streams(request: Request, selection: Annotated[Formatted, Query()]) -> Response:
    """Every stream of the log with its head; watched ones without an event yet at offset 0."""
    state = state_of(request)
    async with reading(state) as connection:
        found = await connection.fetch(HEADS)
    data = [{**row, "hash": row["hash"].hex()} for row in found]
    existing = {row["stream"] for row in data}
    data.extend(
        {"stream": stream, "epoch": None, "offset": 0, "hash": None}
        for stream in sorted(set(state.status.streams()) - existing)
    )
    heard = set(caller_of(request).streams(row["stream"] for row in data))
    told = ListAnswer(
        data=[row for row in data if row["stream"] in heard],
        described=schemas.StreamRow,
        as_of=state.clock.now(),
    )
    return await answer_list(request, selection.format, told)


@router.get(
    "/{stream:path}/head",
    responses=answering(schemas.StreamRow) | refused("unknown_stream", "not_as_it_was"),
)
async def head(request: Request, stream: Named) -> Response:
    """The last offset of a stream and its hash, which no event before it can change unseen."""
    state = state_of(request)
    async with reading(state) as connection:
        log = await log_with(connection, caller_of(request), stream)
    place = log.places[stream] - 1
    row = {
        "stream": stream,
        "epoch": log.epoch,
        "offset": log.offsets[place],
        "hash": split_hashes(log.hashes)[place],
    }
    return envelope([row], as_of=state.clock.now())


@router.get(
    "/{stream:path}/events",
    responses=answering(schemas.EventRow)
    | refused("unknown_stream", "epoch_changed", "unknown_offset", "not_as_it_was"),
)
async def events(
    request: Request, stream: Named, selection: Annotated[EventSelection, Query()]
) -> Response:
    """Events of a stream as they were published, each with its hash and that of the one before.

    `data` has the bytes that the hash is over. A page ends before an event that was edited and is
    no row any more; one that would begin with it is refused (409 `not_as_it_was`, its `offset`).
    """
    state, since = state_of(request), None
    offset = selection.since if selection.cursor is None else selection.cursor
    if offset is not None:
        since = Position(epoch=selection.epoch, offset=offset)
    asked = Asked(
        stream, since, selection.start, selection.end, selection.limit, selection.order or "asc"
    )
    async with reading(state) as connection:
        page = await read_events(connection, caller_of(request), asked, state.status.streams())
    told = ListAnswer(
        data=page.data,
        described=schemas.EventRow,
        as_of=state.clock.now(),
        following=None if page.following is None else str(page.following.offset),
    )
    return await answer_list(request, Format.OBJECTS, told)
