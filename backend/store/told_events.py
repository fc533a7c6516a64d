"""Events as they are read from the log to be told: each is to be the JSON object of a row."""

from __future__ import annotations

from typing import Any, Final, Protocol

import orjson
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from backend import damaged
from domain.errors import StoreError

_N, _I = b"NI"
EDITED: Final = "it was edited and is no row any more; it is told to nobody"


class _Object(TypedDict):
    """Any JSON object, without its members: they are parsed, but not made."""


_parse: Final = TypeAdapter(_Object).validator.validate_json


class Stored(Protocol):
    """An event that was read from the log."""

    @property
    def stream(self) -> str: ...

    @property
    def offset(self) -> int: ...

    @property
    def payload(self) -> bytes: ...


def row_of(event: Stored) -> dict[str, Any] | None:
    """The row that an event tells; None where it is none any more, which then is a trouble."""
    try:
        row = orjson.loads(event.payload)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        damaged.meet(name_of(event.stream, event.offset), EDITED)
        return None
    if damaged.anything():
        damaged.mended(name_of(event.stream, event.offset))
    return row


def is_row(event: Stored) -> bool:
    """Whether an event tells a row: as `row_of` says it, for less."""
    payload = event.payload
    if _N in payload or _I in payload or damaged.anything():  # NaN and Infinity are no JSON
        return row_of(event) is not None
    try:
        _parse(payload)
    except ValueError:
        return row_of(event) is not None
    return True


def meet_head(log: str, error: StoreError) -> None:
    """The head of a log was edited, and does not hold together: none of its streams can be read."""
    damaged.meet(f"the streams of {log}", str(error))


def mended_head(log: str) -> None:
    """The head of a log was read, and holds together."""
    damaged.mended(f"the streams of {log}")


def name_of(stream: str, offset: object = "?") -> str:
    """An event, as people are told of it."""
    return f"event {offset} of {stream}"
