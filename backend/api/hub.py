"""Fan-out: each event is encoded once and queued for every subscriber of its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

import orjson

from backend.api.connection import (
    DRAINING,
    CloseReason,
    Connection,
    Head,
    Subscription,
)
from backend.api.limits import Limits
from backend.store.stream_log import StreamEvent
from domain.market import rfc3339
from domain.ports import Clock

FULL_HEADS_EVERY: Final = 12  # heartbeats
_UPDATE: Final = (
    b'{"type":"update","stream":%b,"epoch":%b,"offset":%d,"event":%b,"as_of":"%b","ts":"%b",'
    b'"hash":"%b","previous_hash":"%b","data":%b'
)


class Hub:
    """Who listens to what. Everything here runs on one event loop and never waits."""

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.clock = clock
        self.connections: set[Connection] = set()
        self.heads: dict[str, Head] = {}
        self._subscribers: dict[str, dict[Connection, Subscription]] = {}

    def publish(self, events: Sequence[StreamEvent]) -> None:
        """Queue committed events, in log order, for whoever subscribed to their streams."""
        for event in events:
            head = self.heads[event.stream] = Head(event.epoch, event.offset)
            subscribers = self._subscribers.get(event.stream)
            if subscribers:
                body = update_body(event)
                for connection, subscription in subscribers.items():
                    connection.update(subscription, event.stream, head, body)

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
            ts = rfc3339(self.clock.now())
            for connection in tuple(self.connections):
                connection.check_blocked(loop.time())
                connection.heartbeat(ts, full=count % FULL_HEADS_EVERY == 0)

    def drain(self) -> None:
        """Ask every client to come back later: the server is about to stop."""
        for connection in tuple(self.connections):
            connection.close(CloseReason(DRAINING, "draining", 1_000))


def update_body(event: StreamEvent) -> bytes:
    """The update message of `event`, without its `seq` and closing brace.

    `data` is the payload byte for byte, so that a client can recompute the hash.
    """
    return _UPDATE % (
        orjson.dumps(event.stream),
        orjson.dumps(event.epoch),
        event.offset,
        orjson.dumps(event.event),
        _moment(event.as_of),
        _moment(event.published_at),
        event.hash.hex().encode(),
        event.previous_hash.hex().encode(),
        event.payload,
    )


@lru_cache(maxsize=16)
def _moment(moment: datetime) -> bytes:
    return rfc3339(moment).encode()
