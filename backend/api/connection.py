"""One subscriber: a bounded queue, a frame counter and the one task that writes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from backend.api.frames import SEND_MANY
from backend.api.limits import Limits

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BAD_PROTOCOL: Final = 4400
ABUSE: Final = 4429
FAILED: Final = 4500
DRAINING: Final = 4501
SLOW_CONSUMER: Final = 4508
WRITE_BYTES: Final = 65_536  # in one write, and a frame more


class Head(NamedTuple):
    """Where a stream's log stands; `epoch` is None before its first event."""

    epoch: str | None
    offset: int


class CloseReason(NamedTuple):
    """Why the server ends a connection: 44xx stop, 45xx come back."""

    code: int
    text: str
    retry_ms: int | None = None

    def json(self) -> str:
        return orjson.dumps({"code": self.text, "retry_ms": self.retry_ms}).decode()


@dataclass(slots=True)
class Subscription:
    """A stream as one connection has it.

    Until its snapshot is sent `floor` is None and events are held; afterwards events
    with an offset up to `floor` are part of the snapshot and dropped.
    """

    floor: int | None = None
    held: list[tuple[Head, bytes]] = field(default_factory=list)


class Connection:
    """The outgoing side of one socket.

    `push` never waits: a consumer that falls behind by more than `queue_bytes` loses its
    connection, never the pipeline's pace.
    """

    def __init__(self, send: Send, limits: Limits) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self.moved: dict[str, Head] = {}  # heads since the last heartbeat
        self.heads: dict[str, Head] = {}
        self.closing: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()
        self._send = send
        self._limits = limits
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._seq = 0
        self._blocked_since: float | None = None

    def push(self, body: bytes) -> None:
        """Queue one message; `body` is its JSON object without the closing brace."""
        if self.closing.done():
            return
        self._queued += len(body)
        if self._queued > self._limits.queue_bytes:
            self.close(CloseReason(SLOW_CONSUMER, "slow_consumer", 1_000))
            return
        self._queue.append(body)
        self._wake.set()

    def push_object(self, message: dict[str, Any]) -> None:
        self.push(orjson.dumps(message)[:-1])

    def update(self, subscription: Subscription, stream: str, head: Head, body: bytes) -> None:
        """Queue an event of a subscribed stream, or hold it until the snapshot is out."""
        if subscription.floor is None:
            self._queued += len(body)
            subscription.held.append((head, body))
            if self._queued > self._limits.queue_bytes:
                self.close(CloseReason(SLOW_CONSUMER, "slow_consumer", 1_000))
        elif head.offset > subscription.floor:
            self.moved[stream] = self.heads[stream] = head
            self.push(body)

    def go_live(self, stream: str, head: Head) -> None:
        """Send what was held beyond `head`, the snapshot's place, and what comes from now on."""
        subscription = self.subscriptions.get(stream)
        if subscription is None:
            return
        self.heads[stream] = head
        subscription.floor = max(head.offset, subscription.floor or 0)
        held, subscription.held = subscription.held, []
        for event_head, body in held:
            self._queued -= len(body)
            self.update(subscription, stream, event_head, body)

    def heartbeat(self, ts: str, *, full: bool) -> None:
        """Queue a heartbeat with the heads that moved, or with all of them."""
        heads = self.heads if full else self.moved
        plain = {stream: list(head) for stream, head in heads.items()}
        self.push_object({"type": "heartbeat", "ts": ts, "heads": plain})
        self.moved = {}

    def close(self, reason: CloseReason) -> None:
        """Give up on what is queued and end the connection."""
        if not self.closing.done():
            self.closing.set_result(reason)
            self._queue.clear()

    def check_blocked(self, now: float) -> None:
        """Close when the peer has taken nothing for the write timeout; `now` in loop seconds."""
        since = self._blocked_since
        if since is not None and (now - since) * 1_000 > self._limits.write_timeout_ms:
            self.close(CloseReason(SLOW_CONSUMER, "slow_consumer", 1_000))

    async def write(self) -> None:
        """Send what is queued, in order, for ever; frames queued together leave together."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._blocked_since = loop.time()
            while self._queue:
                await self._send({"type": SEND_MANY, "texts": self._next_frames()})
                self._blocked_since = loop.time()
            self._blocked_since = None

    def _next_frames(self) -> list[bytes]:
        frames, size = [], 0
        while self._queue and size < WRITE_BYTES:
            body = self._queue.popleft()
            size += len(body)
            frames.append(b'%b,"seq":%d}' % (body, self._seq))
            self._seq += 1
        self._queued -= size
        return frames
