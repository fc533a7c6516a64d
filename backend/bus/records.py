"""What an event of the stream log is on a broker: topic, key, headers; its payload to the byte.

The headers are those of CloudEvents' binary mode, and what the hash of an event is made of, so that
a reader can recompute the chain of a stream from its records alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from backend import damaged
from backend.store.stream_log import StreamEvent
from backend.store.told_events import name_of, row_of
from domain.market import rfc3339
from domain.topics import PREDICTIONS, SIGNALS, SIGNALS_LATEST, Topic

CHANNELS: Final[dict[str, Topic]] = {"predictions": PREDICTIONS, "signals": SIGNALS}
_SERIES: Final = ("timeframe", "exchange", "symbol")  # as a stream is named by
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

    One that was edited so that it has none is on its topic alone, where its hash tells of it. One
    that is no row any more, or not of the series of its stream, has no record: that is a trouble.
    """
    row = row_of(event)
    if row is None or not _fits(event, row):
        return
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
        horizon = row.get("horizon")
        if not isinstance(horizon, int):
            damaged.meet(name_of(event.stream, event.offset), "it was edited, and is of no horizon")
            return
        of_horizon = b"%b|%d" % (key, horizon)
        yield Record(SIGNALS_LATEST.wire_name(prefix), of_horizon, event.payload, headers)


def _fits(event: StreamEvent, row: Mapping[str, Any]) -> bool:
    """Whether a row is of its stream; else the one was edited, or the other renamed in its head."""
    channel, *series = event.stream.split(".", 3)
    what = f"the stream {event.stream}"
    if channel in CHANNELS and series == [row.get(name) for name in _SERIES]:
        if damaged.anything():
            damaged.mended(what)
        return True
    fault = f"from event {event.offset} on what it tells is of another stream: no broker gets it"
    damaged.meet(what, fault)
    return False


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
