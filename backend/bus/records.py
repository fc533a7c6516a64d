"""What an event of the stream log is on a broker: topic, key, headers; its payload to the byte.

The headers are those of CloudEvents' binary mode, and what the hash of an event is made of, so that
a reader can recompute the chain of a stream from its records alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

import orjson

from backend.store.stream_log import StreamEvent
from domain.market import rfc3339
from domain.topics import PREDICTIONS, SIGNALS, SIGNALS_LATEST, Topic

log = logging.getLogger(__name__)

CHANNELS: Final[dict[str, Topic]] = {"predictions": PREDICTIONS, "signals": SIGNALS}
ALWAYS: Final = (
    ("ce_specversion", b"1.0"),
    ("ce_source", b"alphapulse"),
    ("content-type", b"application/json"),
    ("schema", b"1"),
)


class Record(NamedTuple):
    """As a producer takes it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    partition: int | None = None  # None: the client's choice for the key


def records(event: StreamEvent, prefix: str) -> Iterator[Record]:
    """Of an event of `CHANNELS`: that of its topic, and of a signal the newest of its horizon.

    One that was edited so that it has none is on its topic alone, where its hash tells of it.
    """
    topic, key, panel = _series(event.stream)
    trace = trace_of(panel, event.as_of)
    headers = [
        *ALWAYS,
        ("ce_id", f"{event.stream}@{event.epoch}:{event.offset}".encode()),
        ("ce_type", topic.wire_name().encode()),
        ("ce_subject", event.stream.encode()),
        ("ce_time", spelled(event.published_at)),
        ("event", event.event.encode()),
        ("epoch", event.epoch.encode()),
        ("offset", b"%d" % event.offset),
        ("as_of", spelled(event.as_of)),
        ("hash", event.hash.hex().encode()),
        ("previous_hash", event.previous_hash.hex().encode()),
        ("traceparent", b"00-%b-%b-01" % (trace, event.hash[:8].hex().encode())),
    ]
    yield Record(topic.wire_name(prefix), key, event.payload, headers)
    if topic is SIGNALS:
        try:
            of_horizon = b"%b|%d" % (key, orjson.loads(event.payload)["horizon"])
        except (ValueError, LookupError, TypeError):
            about = {"stream": event.stream, "offset": event.offset}
            log.warning("a signal is of no horizon: it is not as it was published", extra=about)
            return
        yield Record(SIGNALS_LATEST.wire_name(prefix), of_horizon, event.payload, headers)


@lru_cache(maxsize=8_192)
def _series(stream: str) -> tuple[Topic, bytes, str]:
    """The topic and key of a stream, and its panel."""
    channel, timeframe, exchange, symbol = stream.split(".", 3)
    key = f"{exchange}|{symbol}|{timeframe}".encode()
    return CHANNELS[channel], key, f"{exchange}|{timeframe}"


@lru_cache(maxsize=64)
def trace_of(panel: str, as_of: datetime) -> bytes:
    """The same for all that a tick made, whoever sends it and how often."""
    return sha256(f"{panel}|{rfc3339(as_of)}".encode()).digest()[:16].hex().encode()


@lru_cache(maxsize=64)
def spelled(moment: datetime) -> bytes:
    """A time in a header."""
    return rfc3339(moment).encode()
