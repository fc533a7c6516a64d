"""Who listens to which stream, and the way bytes get to them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from collectors.simulated.dialect import wrapped

# A reader this far behind loses its connection.
MAX_BACKLOG = 32 * 1024 * 1024  # bytes


class Subscriber:
    """One socket connection; `combined` ones get each event with its stream's name."""

    def __init__(self, transport: asyncio.Transport, *, combined: bool) -> None:
        self.streams: set[str] = set()
        self._transport = transport
        self._combined = combined
        self._waiting: list[bytes] = []

    def add(self, stream: str, event: bytes) -> None:
        """Queue one event for the next `flush`."""
        self._waiting.append(text_frame(wrapped(stream, event) if self._combined else event))

    def flush(self) -> None:
        """Write what is queued as one piece, so that a tick of 500 frames is one system call."""
        frames, self._waiting = self._waiting, []
        if self._transport.is_closing():
            return
        self._transport.write(b"".join(frames))
        if self._transport.get_write_buffer_size() > MAX_BACKLOG:
            self._transport.abort()

    def cut(self) -> None:
        """End the connection without a closing handshake, as a lost network does."""
        self._transport.abort()

    def close(self) -> None:
        """End the connection as the protocol has it: status 1001, going away."""
        self._transport.write(b"\x88\x02\x03\xe9")
        self._transport.close()


class Subscribers:
    """All connections by the streams that they asked for."""

    def __init__(self) -> None:
        self._all: set[Subscriber] = set()
        self._of_stream: dict[str, set[Subscriber]] = defaultdict(set)
        self._touched: set[Subscriber] = set()

    def join(self, subscriber: Subscriber) -> None:
        self._all.add(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        self._all.discard(subscriber)
        self.unsubscribe(subscriber, list(subscriber.streams))

    def subscribe(self, subscriber: Subscriber, streams: Iterable[str]) -> None:
        for stream in streams:
            subscriber.streams.add(stream)
            self._of_stream[stream].add(subscriber)

    def unsubscribe(self, subscriber: Subscriber, streams: Iterable[str]) -> None:
        for stream in streams:
            subscriber.streams.discard(stream)
            self._of_stream[stream].discard(subscriber)
            if not self._of_stream[stream]:
                del self._of_stream[stream]

    def wants(self, stream: str) -> bool:
        return stream in self._of_stream

    def send(self, stream: str, event: bytes) -> None:
        """Queue `event` for everyone on `stream`; `flush` writes."""
        for subscriber in self._of_stream.get(stream, ()):
            subscriber.add(stream, event)
            self._touched.add(subscriber)

    def flush(self) -> None:
        touched, self._touched = self._touched, set()
        for subscriber in touched:
            subscriber.flush()

    def cut_all(self) -> None:
        for subscriber in list(self._all):
            subscriber.cut()

    def close_all(self) -> None:
        for subscriber in list(self._all):
            subscriber.close()

    def __len__(self) -> int:
        return len(self._all)


def text_frame(payload: bytes) -> bytes:
    """`payload` as one unmasked WebSocket text frame (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:  # noqa: PLR2004 - the protocol's number
        return bytes((0x81, size)) + payload
    if size < 65_536:  # noqa: PLR2004 - the protocol's number
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
