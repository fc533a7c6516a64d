"""Fan-out: each event is encoded once and queued for every subscriber of its stream."""

from __future__ import annotations

import asyncio
from binascii import hexlify
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

import orjson

from backend.api.connection import (
    DRAINING,
    FIRST_RETRY_MS,
    LOST,
    CloseReason,
    Connection,
    Head,
    Subscription,
)
from backend.api.limits import Limits
from backend.api.past_events import edited
from backend.api.streams import KnownStreams
from backend.store.stream_log import StreamEvent
from backend.store.told_events import is_row
from domain.market import rfc3339
from domain.ports import Clock

FULL_HEADS_EVERY: Final = 12  # heartbeats
SPREAD_MS: Final = 2_000  # after a server stopped the last client comes so much later
_UPDATE: Final = (
    b'{"type":"update",%b"stream":%b,"epoch":%b,"offset":%d,"event":%b,"as_of":"%b","ts":"%b",'
    b'"hash":"%b","previous_hash":"%b","data":%b'
)


class Hub:
    """Who listens to what. Everything here runs on one event loop and never waits."""

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.clock = clock
        self.connections: set[Connection] = set()
        self.heads: dict[str, Head] = {}
        self.draining = False
        self.seen: Callable[[], datetime] = clock.now  # up to when all that was committed is told
        self._subscribers: dict[str, dict[Connection, Subscription]] = {}

    def publish(self, events: Sequence[StreamEvent]) -> None:
        """Queue committed events, in log order, for whoever subscribed to their streams."""
        for event in events:
            if event.stream not in self.heads:
                self._take_in(event)
            head = self.heads[event.stream] = Head(event.epoch, event.offset)
            subscribers = self._subscribers.get(event.stream)
            if subscribers:
                body = update_body(event)
                for connection, subscription in subscribers.items():
                    connection.update(subscription, event.stream, head, body)

    def publish_read(self, events: Iterable[StreamEvent]) -> None:
        """As `publish`, of events that were read from the log: one may have been edited.

        Where one is no row any more its stream ends for whoever subscribed to it.
        """
        for event in events:
            if is_row(event):
                self.publish([event])
            else:
                self.heads[event.stream] = Head(event.epoch, event.offset)
                self._end(event)

    def _end(self, event: StreamEvent) -> None:
        for connection, subscription in tuple(self._subscribers.get(event.stream, {}).items()):
            if subscription.floor is None:  # it is catching up, and meets the event again
                connection.close(LOST)
            else:
                connection.push_problem(edited(event))
            self.leave(event.stream, connection)

    def learn(self, heads: Mapping[str, Head]) -> None:
        """Streams that a reader found in the log: they are not new any more."""
        for stream, head in heads.items():
            self.heads.setdefault(stream, head)

    def _take_in(self, event: StreamEvent) -> None:
        """Whoever subscribed to a pattern gets a stream of it that begins now."""
        known = KnownStreams([event.stream])
        for connection in self.connections:
            fitting = (one for one in connection.patterns if known.expand(one))
            pattern = next(fitting, None)
            if pattern is None or event.stream in connection.subscriptions:
                continue
            if not connection.caller.streams([event.stream]):
                continue
            before = Head(event.epoch, event.offset - 1)
            subscription = self.join(event.stream, connection)
            subscription.latest = connection.patterns[pattern]
            connection.push_object(
                {
                    "type": "joined",
                    "stream": event.stream,
                    "epoch": before.epoch,
                    "offset": before.offset,
                    "ts": rfc3339(self.clock.now()),
                }
            )
            connection.go_live(event.stream, before)

    def join(self, stream: str, connection: Connection) -> Subscription:
        """Start to hold the events of `stream` for `connection`."""
        subscription = Subscription()
        connection.subscriptions[stream] = subscription
        self._subscribers.setdefault(stream, {})[connection] = subscription
        return subscription

    def leave(self, stream: str, connection: Connection) -> None:
        connection.subscriptions.pop(stream, None)
        connection.heads.pop(stream, None)
        connection.moved.pop(stream, None)
        subscribers = self._subscribers.get(stream, {})
        subscribers.pop(connection, None)
        if not subscribers:
            self._subscribers.pop(stream, None)

    def detach(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        for stream in tuple(connection.subscriptions):
            self.leave(stream, connection)
        self.connections.discard(connection)

    async def beat(self) -> None:
        """Send heartbeats for ever, in wall time, and drop those who take nothing."""
        loop = asyncio.get_running_loop()
        count = 0
        while True:
            await asyncio.sleep(self.limits.heartbeat_ms / 1_000)
            count += 1
            ts = rfc3339(self.seen())
            for connection in tuple(self.connections):
                connection.check_blocked(loop.time())
                connection.heartbeat(ts, full=count % FULL_HEADS_EVERY == 0)

    async def drain(self) -> None:
        """Ask every client to come back later, each at another time: the server stops.

        What is queued is sent first, as far as a client takes it within `grace_ms`.
        """
        self.draining = True
        connections, grace_ms = tuple(self.connections), self.limits.grace_ms
        goodbye = {"type": "shutdown", "ts": rfc3339(self.clock.now()), "grace_ms": grace_ms}
        for connection in connections:
            connection.push_object(goodbye)
        flushing = [asyncio.ensure_future(each.flushed()) for each in connections]
        if flushing:
            await asyncio.wait(flushing, timeout=grace_ms / 1_000)
        for task in flushing:
            task.cancel()
        for number, connection in enumerate(connections):
            retry_ms = FIRST_RETRY_MS + number * SPREAD_MS // len(connections)
            connection.close(CloseReason(DRAINING, "draining", retry_ms))


def update_body(event: StreamEvent, *, replay: bool = False) -> bytes:
    """The update message of `event`, without its `seq` and closing brace.

    `data` is the payload byte for byte, so that a client can recompute the hash.
    """
    return _UPDATE % (
        b'"replay":true,' if replay else b"",
        orjson.dumps(event.stream),
        orjson.dumps(event.epoch),
        event.offset,
        orjson.dumps(event.event),
        _moment(event.as_of),
        _moment(event.published_at),
        hexlify(event.hash),
        hexlify(event.previous_hash),
        event.payload,
    )


@lru_cache(maxsize=16)
def _moment(moment: datetime) -> bytes:
    return rfc3339(moment).encode()
