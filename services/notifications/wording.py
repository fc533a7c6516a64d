"""A notice as one channel gets it: an id, JSON for programs, words for people."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import orjson

from domain.market import rfc3339
from domain.notifications import Notice, Notification

ID_LETTERS: Final = 32  # hex: 128 bits
LATE: Final = timedelta(minutes=1)  # of wall time, from which on people are told
LISTED: Final = 20  # instruments, to people: some services take 2 000 letters
TEST: Final = "test"  # the event of a notification that nothing happened for
_SAID: Final = (  # of a row, to people, where it has it
    *("side", "strength", "size_fraction", "entry_price", "stop", "take", "expires_at", "gate"),
    *("status", "exit_price", "realized_return", "closed_at", "as_of", "horizon"),
    *("target", "version", "detail", "from", "to", "cause", "state", "since", "reason"),
)


def id_of(notice: Notice, channel: str) -> str:
    """The same for the same notice and channel, whoever makes it and when."""
    text = "\n".join((channel, notice.event, *notice.key))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LETTERS]


def body_of(notice: Notice, identity: str, market: str) -> bytes:
    """The JSON of a webhook; `data` is as it was published, byte for byte."""
    head = {
        "id": identity,
        "event": notice.event,
        "at": rfc3339(notice.at),
        "market": market,
        "subject": notice.subject,
        **(asdict(notice.place) if notice.place else {}),
    }
    return orjson.dumps(head)[:-1] + b',"data":' + notice.data + b"}"


def notification(body: bytes, late: timedelta = timedelta(0)) -> Notification:
    """What a channel is handed, from the JSON alone.

    Args:
        body: of `body_of`.
        late: wall time since it was published.
    """
    told = orjson.loads(body)
    simulated = "" if told["market"] == "live" else f"[{told['market']}] "
    return Notification(
        id=told["id"],
        event=told["event"],
        body=body,
        title=f"{simulated}{told['event']} {told['subject']}",
        text="\n".join(_lines(told, late)),
    )


def trial(channel: str, at: str) -> Notification:
    """What `alphapulse notify test` sends: nothing happened, and it says so."""
    identity = hashlib.sha256(f"{TEST}\n{channel}\n{at}".encode()).hexdigest()[:ID_LETTERS]
    head = {"id": identity, "event": TEST, "at": at, "market": TEST, "subject": channel}
    return notification(orjson.dumps({**head, "data": {"detail": "a test; nothing happened"}}))


def _lines(told: Mapping[str, Any], late: timedelta) -> Iterator[str]:
    row = told["data"]
    if "timeframe" in row:
        yield f"timeframe: {row['timeframe']}"
    instruments = row.get("instruments", ())
    for one in instruments[:LISTED]:
        yield f"{one['symbol']}: {one['as_of']}"
    if len(instruments) > LISTED:
        yield f"and {len(instruments) - LISTED} more"
    for name in _SAID:
        if row.get(name) not in {None, ""}:
            yield f"{name}: {_spelled(row[name])}"
    yield f"at: {told['at']}" + (f", late by {_span(late)}" if late >= LATE else "")
    yield f"id: {told['id']}"


def _spelled(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _span(late: timedelta) -> str:
    """To the minute.

    >>> _span(timedelta(hours=2, seconds=90))
    '2 h 1 min'
    """
    hours, minutes = divmod(late // timedelta(minutes=1), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
