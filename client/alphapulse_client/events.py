"""Events of a stream as they are handed out, and the chain that holds them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from alphapulse_client.errors import ChainBrokenError, ProtocolError
from alphapulse_client.exact import Row
from alphapulse_client.times import parsed, with_times

FIRST_HASH: Final = "0" * 64  # before the first event
_HASHED: Final = ("previous_hash", "stream", "epoch", "offset", "event", "as_of", "ts")


@dataclass(frozen=True, slots=True)
class Position:
    """Behind an event of a stream; offset 0 is before the first.

    Attributes:
        epoch: of the stream's log; None before its first event.
        offset: of the event.
        hash: the event's, which the next one names; None where it is not known.
    """

    epoch: str | None
    offset: int
    hash: str | None = None


START: Final = Position(None, 0, FIRST_HASH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One event of a stream's log.

    Attributes:
        stream: `signals.1h.binance.BTC/USDT`.
        epoch, offset: its place; (stream, epoch, offset) is told apart from all others by it.
        event: `candle`, `prediction`, `opened`, `updated`, `closed`, …
        as_of: what it is about: the close of the last candle that was used.
        ts: when its commit began; nothing in `data` was made or known later.
        hash, previous_hash: its link of the chain.
        data: the row as REST has it, its times as datetimes.
        payload: the text of `data` as it was received.
        digest: the hash that its content gives; another than `hash` where it was altered.
        replay: it was published before the subscription.
        conflated: how many events of its stream and horizon it stands for beside itself.
    """

    stream: str
    epoch: str
    offset: int
    event: str
    as_of: datetime
    ts: datetime
    hash: str
    previous_hash: str
    data: Mapping[str, Any]
    payload: str = field(repr=False)
    digest: str = field(repr=False)
    replay: bool = False
    conflated: int = 0

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset, self.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """In the place of events that can no longer be had: the newest rows of a stream.

    Attributes:
        stream: whose.
        epoch, offset: updates go on behind this place.
        reason: why the events in between are missing.
        data: the newest row of each horizon; of `gaps` all that are not filled.
    """

    stream: str
    epoch: str | None
    offset: int
    reason: str
    data: tuple[Mapping[str, Any], ...]

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset, FIRST_HASH if self.offset == 0 else None)


def update_of(row: Row) -> Update:
    """The event of a frame or of a row of `GET /v1/streams/STREAM/events`.

    Raises:
        ProtocolError: it is none.
    """
    members, payload = row
    try:
        text = "".join(f"{members[name]}\n" for name in _HASHED) + payload
        return Update(
            stream=str(members["stream"]),
            epoch=str(members["epoch"]),
            offset=int(members["offset"]),
            event=str(members["event"]),
            as_of=parsed(members["as_of"]),
            ts=parsed(members["ts"]),
            hash=str(members["hash"]),
            previous_hash=str(members["previous_hash"]),
            data=with_times(members["data"]),
            payload=payload,
            digest=sha256(text.encode()).hexdigest(),
            replay=bool(members.get("replay")),
            conflated=int(members.get("conflated", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"an event cannot be read: {error!r}") from error


def follow(update: Update, before: Position) -> None:
    """See that an event is the link behind `before`, whose offset is one less.

    Raises:
        ChainBrokenError: its content does not give its hash, or it names another event before it.
    """
    if update.digest != update.hash:
        reason = "its content does not give its hash"
        raise ChainBrokenError(update.stream, update.offset, reason)
    if before.hash is not None and update.previous_hash != before.hash:
        reason = "it follows on another event than the one before it"
        raise ChainBrokenError(update.stream, update.offset, reason)
