"""A subscription: what is granted, what is told again, and the moment from which it is live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

import orjson

from backend.api.answers import reading, starting
from backend.api.connection import LOST, Connection, Head
from backend.api.hub import update_body
from backend.api.messages import StreamProblem, SubscribeParams
from backend.api.past_events import edited
from backend.api.problems import ProblemError
from backend.api.resume import NOWHERE, Begin, beginnings
from backend.api.snapshots import known_heads, newest_rows
from backend.api.state import ApiState
from backend.api.streams import KnownStreams
from backend.store.database import CONNECTION_ERRORS
from backend.store.stream_log import StreamEvent
from backend.store.stream_reads import Place, Reader, by_log, read_log
from backend.store.told_events import is_row
from domain.errors import StoreError, shortened
from domain.market import rfc3339

HINTED: Final = 3  # unknown streams of a request that are answered with the nearest names
UNKNOWN: Final = {
    name: value
    for name, value in ProblemError("unknown_stream", "no stream of this name").body().items()
    if name in StreamProblem.model_fields
}

Answer = Callable[[list[dict[str, Any]], Sequence[dict[str, Any]]], None]


class PositionLostError(Exception):
    """The log does not hold what its heads say."""


BROKEN_PROMISES: Final = (PositionLostError, StoreError, *CONNECTION_ERRORS)


async def subscribe(
    state: ApiState, connection: Connection, params: SubscribeParams, answer: Answer
) -> None:
    """Answer a subscription, tell what it missed, and let it go on live.

    What was missed is read while nothing is held for the connection, so that a long replay costs
    it no room; the few events that are committed meanwhile are read once it is held.

    Args:
        state: with a store.
        connection: whose it is.
        params: what is asked.
        answer: says which streams are granted, which are rejected.

    Raises:
        ProblemError: nothing is granted, or more than a connection may hold.
    """
    if state.reader is None:
        raise starting(state)
    async with reading(state) as database:
        heads = await known_heads(database)
        known = KnownStreams(connection.caller.streams({*state.status.streams(), *heads}))
        granted, rejected = sorted_out(params.streams, known)
        if not granted:
            raise _nothing(rejected)
        _refuse_more_than_it_may_hold(state, connection, granted)
        fresh = [each for each in granted if each not in connection.subscriptions]
        begun = await beginnings(database, fresh, params.since, heads, state.hub.limits.replay_max)
    state.hub.learn(heads)
    latest = params.deliver == "latest"
    connection.patterns |= {pattern: latest for pattern in params.streams if "*" in pattern}
    held = {each: Begin(head=connection.heads.get(each, NOWHERE)) for each in granted}
    answer([one.public(stream) for stream, one in {**held, **begun}.items()], rejected)
    try:
        await _begin(state, connection, begun, snapshot=params.snapshot)
    except BROKEN_PROMISES:  # the client was told of more than can be kept
        connection.close(LOST)
    for stream in granted:
        if stream in connection.subscriptions:
            connection.subscriptions[stream].latest = latest


async def _begin(
    state: ApiState, connection: Connection, begun: Mapping[str, Begin], *, snapshot: bool
) -> None:
    asked = {stream: one.place for stream, one in begun.items() if one.place is not None}
    missed = await _replay(state, connection, asked)
    for stream in begun:
        if stream not in asked or stream in missed:
            state.hub.join(stream, connection)
    # Read after joining: what is committed meanwhile is held, and nothing falls between.
    async with reading(state) as database:
        heads = await known_heads(database)
        rows = await newest_rows(database, [*(begun.keys() - asked)] if snapshot else [])
    told = await _replay(state, connection, missed, heads)
    for stream in begun:
        head = heads.get(stream, NOWHERE)
        if stream in asked and stream not in told:
            state.hub.leave(stream, connection)
            continue
        if stream not in asked and snapshot:
            connection.push(_snapshot(state, stream, head, rows.get(stream, [])))
        connection.push_object(
            {
                "type": "live",
                "stream": stream,
                "epoch": head.epoch,
                "offset": head.offset,
                "ts": rfc3339(state.clock.now()),
            }
        )
        connection.go_live(stream, head)


async def _replay(
    state: ApiState,
    connection: Connection,
    missed: Mapping[str, Place],
    heads: Mapping[str, Head] | None = None,
) -> dict[str, Place]:
    """Send what follows on `missed`, up to `heads` or what the log says; where each stands now.

    A stream ends with an event that was edited and is no row any more: its client is told so, and
    it is left out of what is returned.

    Raises:
        PositionLostError: an event is not there.
    """
    reached = dict(missed)
    for name, streams in by_log(list(missed)).items():
        async with reading(state) as database:
            log = await read_log(database, name)
        if log is None:
            continue
        upto = {each: log.offsets[log.places[each] - 1] for each in streams if each in log.places}
        if heads is not None:
            upto = {each: heads.get(each, NOWHERE).offset for each in upto}
        behind = {each: missed[each] for each in upto if upto[each] > missed[each].offset}
        reader = Reader(log, behind, upto)
        while not reader.ended:
            async with reading(state) as database:
                page = await reader.page(database)
            await _tell(connection, page, reached)
        for each in behind.keys() & reached:
            if reached[each].offset != upto[each]:
                raise PositionLostError
            reached[each] = reached[each]._replace(block=log.block)
    return reached


async def _tell(
    connection: Connection, page: Iterable[StreamEvent], reached: dict[str, Place]
) -> None:
    """Send events and move `reached`, which loses a stream that ends with one that was edited."""
    for event in page:
        if event.stream not in reached:
            continue
        _follow(reached, event)
        await connection.room()
        if is_row(event):
            connection.push(update_body(event, replay=True))
        else:
            del reached[event.stream]
            connection.push_problem(edited(event))


def _follow(reached: dict[str, Place], event: StreamEvent) -> None:
    before = reached[event.stream]
    if event.offset != before.offset + 1:
        raise PositionLostError
    reached[event.stream] = Place(event.offset, event.hash, before.block)


def _snapshot(state: ApiState, stream: str, head: Head, payloads: Sequence[bytes]) -> bytes:
    envelope = {
        "type": "snapshot",
        "stream": stream,
        "epoch": head.epoch,
        "offset": head.offset,
        "ts": rfc3339(state.clock.now()),
    }
    return orjson.dumps(envelope)[:-1] + b',"data":[' + b",".join(payloads) + b"]"


def _refuse_more_than_it_may_hold(
    state: ApiState, connection: Connection, granted: Iterable[str]
) -> None:
    limit = state.hub.limits.subscriptions
    if len({*granted, *connection.subscriptions}) > limit:
        raise ProblemError("too_many_subscriptions", f"a connection may hold {limit} streams")


def sorted_out(
    patterns: Iterable[str], known: KnownStreams
) -> tuple[list[str], list[dict[str, Any]]]:
    """The streams that are meant, each once, and what is said of patterns that name none."""
    matched: dict[str, None] = {}
    strange = []
    for pattern in dict.fromkeys(patterns):
        streams = known.expand(pattern)
        matched.update(dict.fromkeys(streams))
        if not streams:
            strange.append(pattern)
    # Nearest names are for who mistyped a few, and cost too much to be looked up for thousands.
    near = [known.closest(pattern) for pattern in strange[:HINTED]]
    return list(matched), [
        {"stream": pattern, "error": {**UNKNOWN, "suggestions": hints} if hints else UNKNOWN}
        for pattern, hints in zip_longest(strange, near)
    ]


def _nothing(rejected: Sequence[dict[str, Any]]) -> ProblemError:
    """The answer to a subscription that is left with no stream; it names every one."""
    detail = f"none of the {len(rejected)} streams asked for exists; GET /v1/streams lists them"
    if len(rejected) == 1:
        name = shortened(rejected[0]["stream"])
        detail = f"no stream matches {name!r}; GET /v1/streams lists them"
    return ProblemError("unknown_stream", detail, rejected=rejected)
