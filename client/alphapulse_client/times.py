"""Times: RFC 3339 in what is sent and received, aware datetimes everywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

TIMES: Final = frozenset(
    {
        "as_of", "at", "close_time", "closed_at", "created_at", "day", "decided_at", "detected_at",
        "effective_from", "ended_at", "event_time", "expires_at", "filled_at", "first_as_of",
        "from", "joined_at", "known_at", "last_as_of", "made_at", "next_attempt_at", "open_time",
        "published_at", "sent_at", "started_at", "to", "trained_from", "trained_until", "ts",
        "watched_from", "watched_until",
    }
)  # fmt: skip  # members of rows that are times,
TIMES_BY_NAME: Final = frozenset({"predicted"})  # or objects of times,
ROW: Final = "data"  # or, of an event, a row itself


def parsed(text: str) -> datetime:
    """A time of the server.

    Raises:
        ValueError: it is none, or names no offset.

    >>> parsed("2024-01-01T00:00:00.250Z").isoformat()
    '2024-01-01T00:00:00.250000+00:00'
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no offset from UTC")
    return moment.astimezone(UTC)


def spelt(moment: datetime) -> str:
    """A time as the server reads it, to the microsecond.

    Raises:
        ValueError: it has no time zone.

    >>> spelt(datetime(2024, 1, 1, tzinfo=UTC))
    '2024-01-01T00:00:00.000000Z'
    """
    if moment.tzinfo is None:
        raise ValueError("a time needs a time zone: datetime(…, tzinfo=UTC)")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def with_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the server, its times as datetimes; null stays None.

    Raises:
        ValueError: a time is none.
    """
    return {name: _read(name, value) for name, value in row.items()}


def _read(name: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    if name in TIMES and isinstance(value, str):
        return parsed(value)
    if name in TIMES_BY_NAME and isinstance(value, Mapping):
        return {inner: parsed(text) for inner, text in value.items()}
    if name == ROW and isinstance(value, Mapping):
        return with_times(value)
    return value
