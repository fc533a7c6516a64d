"""What an event of the stream log is on a broker: topic, key, headers; its payload to the byte.

The headers are those of CloudEvents' binary mode, and what the hash of an event is made of, so that
a reader can recompute the chain of a stream from its records alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

import orjson

from backend.store.stream_log import StreamEvent
from domain.market import rfc3339
from domain.topics import PREDICTIONS, SIGNALS, SIGNALS_LATEST, Topic

CHANNELS: Final[dict[str, Topic]] = {"predictions": PREDICTIONS, "signals": SIGNALS}
_ALWAYS: Final = (
    ("ce_specversion", b"1.0"),
    ("ce_source", b"alphapulse"),
    ("content-type", b"application/json"),
    ("schema", b"1"),
)


class Record(NamedTuple):
    """As a producer takes it."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def records(event: StreamEvent) -> Iterator[Record]:
    """Of an event of `CHANNELS`: that of its topic, and of a signal the newest of its horizon."""
    channel, timeframe, exchange, symbol = event.stream.split(".", 3)
    key = f"{exchange}|{symbol}|{timeframe}".encode()
    topic = CHANNELS[channel].wire_name
    headers = _headers(event, topic, _trace(f"{exchange}|{timeframe}|{rfc3339(event.as_of)}"))
    yield Record(topic, key, event.payload, headers)
    if channel == "signals":
        horizon = orjson.loads(event.payload)["horizon"]
        yield Record(SIGNALS_LATEST, b"%b|%d" % (key, horizon), event.payload, headers)


def _headers(event: StreamEvent, topic: str, trace: str) -> list[tuple[str, bytes]]:
    own = (
        ("ce_id", f"{event.stream}@{event.epoch}:{event.offset}"),
        ("ce_type", topic),
        ("ce_subject", event.stream),
        ("ce_time", rfc3339(event.published_at)),
        ("event", event.event),
        ("epoch", event.epoch),
        ("offset", str(event.offset)),
        ("as_of", rfc3339(event.as_of)),
        ("hash", event.hash.hex()),
        ("previous_hash", event.previous_hash.hex()),
        ("traceparent", f"00-{trace}-{event.hash[:8].hex()}-01"),
    )
    return [*_ALWAYS, *((name, text.encode()) for name, text in own)]


@lru_cache(maxsize=64)
def _trace(tick: str) -> str:
    """The same for all that a tick made, whoever sends it and how often."""
    return sha256(tick.encode()).digest()[:16].hex()
