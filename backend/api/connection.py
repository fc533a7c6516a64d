"""One subscriber: a bounded queue, a frame counter and the one task that writes."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from backend.api.callers import Caller
from backend.api.frames import SEND_MANY
from backend.api.limits import Limits
from backend.api.problems import ProblemError

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BAD_PROTOCOL: Final = 4400
ABUSE: Final = 4429
FAILED: Final = 4500
DRAINING: Final = 4501
SLOW_CONSUMER: Final = 4508
POSITION_LOST: Final = 4511
FIRST_RETRY_MS: Final = 500
WRITE_BYTES: Final = 65_536  # in one write, and a frame more
ROOM: Final = 2  # a replay waits while the queue is fuller than one half,
LAG: Final = 4  # and of `latest` streams the newest alone is kept beyond a quarter
_UPDATE: Final = b'{"type":"update",'
_HORIZON: Final = re.compile(rb'"horizon":(\d+)')


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


LOST: Final = CloseReason(POSITION_LOST, "position_lost", 1_000)


@dataclass(slots=True)
class Subscription:
    """A stream as one connection has it.

    Until its snapshot is sent `floor` is None and events are held; afterwards events
    with an offset up to `floor` are part of the snapshot and dropped.
    """

    latest: bool = False  # only the newest event, where the peer lags
    floor: int | None = None
    held: list[tuple[Head, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class _Latest:
    """An update that a later one of its key may take the place of, while it waits."""

    key: tuple[str, bytes]
    body: bytes
    conflated: int = 0

    def frame(self) -> bytes:
        if not self.conflated:
            return self.body
        return b'%b"conflated":%d,%b' % (_UPDATE, self.conflated, self.body[len(_UPDATE) :])


class Connection:
    """The outgoing side of one socket.

    `push` never waits: a consumer that falls behind by more than `queue_bytes` loses its
    connection, never the pipeline's pace.
    """

    def __init__(self, send: Send, limits: Limits, caller: Caller) -> None:
        self.caller = caller  # who hears no other streams than its own
        self.subscriptions: dict[str, Subscription] = {}
        self.moved: dict[str, Head] = {}  # heads since the last heartbeat
        self.heads: dict[str, Head] = {}
        self.patterns: dict[str, bool] = {}  # with a `*`; whether the newest events suffice
        self.closing: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()
        self._send = send
        self._limits = limits
        self._queue: deque[bytes | _Latest] = deque()
        self._queued = 0
        self._waiting: dict[tuple[str, bytes], _Latest] = {}  # in the queue
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()  # something of the queue
        self._seq = 0
        self._blocked_since: float | None = None

    def push(self, body: bytes) -> None:
        """Queue one message; `body` is its JSON object without the closing brace."""
        self._enqueue(body, len(body))

    def _enqueue(self, frame: bytes | _Latest, size: int) -> None:
        if self.closing.done():
            return
        self._queued += size
        if self._queued > self._limits.queue_bytes:
            self.close(CloseReason(SLOW_CONSUMER, "slow_consumer", 1_000))
            return
        self._queue.append(frame)
        self._wake.set()

    def _push_latest(self, stream: str, body: bytes) -> None:
        horizon = _HORIZON.search(body)
        waits = _Latest((stream, horizon.group(1) if horizon else b""), body)
        before = self._waiting.get(waits.key)
        if before is not None and self._queued * LAG > self._limits.queue_bytes:
            waits.conflated = before.conflated + 1
            self._queued -= len(before.body)
            before.body = b""  # its place in the queue is passed over
        self._waiting[waits.key] = waits
        self._enqueue(waits, len(body))

    async def room(self) -> None:
        """Wait until less than half of the queue is taken, or the connection ends."""
        while self._queued * ROOM > self._limits.queue_bytes and not self.closing.done():
            await self._take()

    async def flushed(self) -> None:
        """Wait until all that is queued is sent, or the connection ends."""
        while (self._queue or self._blocked_since is not None) and not self.closing.done():
            await self._take()

    async def _take(self) -> None:
        self._taken.clear()
        await self._taken.wait()

    def push_object(self, message: dict[str, Any]) -> None:
        self.push(orjson.dumps(message)[:-1])

    def push_problem(
        self, problem: ProblemError, number: int | str | None = None, method: str | None = None
    ) -> None:
        """Queue an error: the answer to a request, or what ends a stream."""
        self.push_object(
            {
                "type": "error",
                "id": number,
                "method": method,
                "ok": False,
                "error": problem.body(),
            }
        )

    def update(self, subscription: Subscription, stream: str, head: Head, body: bytes) -> None:
        """Queue an event of a subscribed stream, or hold it until the snapshot is out."""
        if subscription.floor is None:
            self._queued += len(body)
            subscription.held.append((head, body))
            if self._queued > self._limits.queue_bytes:
                self.close(CloseReason(SLOW_CONSUMER, "slow_consumer", 1_000))
        elif head.offset > subscription.floor:
            if head.offset != self.heads[stream].offset + 1:
                # An event before it was not published, or not yet. The log has it.
                self.close(CloseReason(POSITION_LOST, "position_lost", FIRST_RETRY_MS))
                return
            self.moved[stream] = self.heads[stream] = head
            if subscription.latest:
                self._push_latest(stream, body)
            else:
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
            self._taken.set()

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
                self._taken.set()
            self._blocked_since = None
            self._taken.set()

    def _next_frames(self) -> list[bytes]:
        frames, size = [], 0
        while self._queue and size < WRITE_BYTES:
            body = self._body(self._queue.popleft())
            if not body:
                continue
            size += len(body)
            frames.append(b'%b,"seq":%d}' % (body, self._seq))
            self._seq += 1
        return frames

    def _body(self, frame: bytes | _Latest) -> bytes:
        """What is sent of a frame of the queue; nothing where a later one took its place."""
        if isinstance(frame, bytes):
            self._queued -= len(frame)
            return frame
        self._queued -= len(frame.body)
        if self._waiting.get(frame.key) is frame:
            del self._waiting[frame.key]
        return frame.frame() if frame.body else b""
