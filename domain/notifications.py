"""What somebody outside may be told: what happened, and how it is worded for one channel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.market import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the stream log has an event; `hash` is that of its chain."""

    stream: str
    epoch: str
    offset: int
    hash: str  # 64 hex digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that happened, before anybody is chosen to be told.

    Attributes:
        event: what, as rules name it: `signal.opened`.
        at: when it was published, by the market's clock.
        subject: what it is of; notices of one subject are delivered in their order.
        key: tells it from all others of its event, the same however often it is derived.
        data: its JSON, byte for byte as it was published.
        instruments, timeframe, strength: what rules choose by, where it has that.
        place: None for what is not in the log.
    """

    event: str
    at: datetime
    subject: str
    key: tuple[str, ...]
    data: bytes
    instruments: tuple[Instrument, ...] = ()
    timeframe: str | None = None
    strength: float | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A notice on its way to one channel.

    Attributes:
        id: the same at each try; whoever has seen it may pass over it.
        event: what happened.
        body: JSON, for programs.
        title, text: for people.
    """

    id: str
    event: str
    body: bytes
    title: str
    text: str
