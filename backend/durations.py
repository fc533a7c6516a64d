"""Durations and moments as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from domain.errors import UsageError
from domain.market import FURTHEST

_LONGEST_S = 100 * 365 * 86_400.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def duration(text: str) -> timedelta:
    """`120s`, `5m`, `1h`, `2d`; a bare number is seconds.

    >>> duration("5m").total_seconds()
    300.0

    Raises:
        UsageError: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a duration; write 90s, 5m, 1h or 2d")
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if seconds > _LONGEST_S:
        raise UsageError(f"{text} is longer than 100 years")
    return timedelta(seconds=seconds)


def moment(text: str) -> datetime:
    """An ISO 8601 time; a date is its midnight, no zone means UTC.

    >>> moment("2025-01-01").isoformat()
    '2025-01-01T00:00:00+00:00'

    Raises:
        UsageError: it is not a time.
    """
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a time; write 2025-01-31 or 2025-01-31T12:00Z") from None


def span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """The moments of `--from` and `--to`.

    >>> span(None, "2025-01-01")[1] == moment("2025-01-01")
    True

    Raises:
        UsageError: one is not a time, or the first is later than the second.
    """
    first, last = (moment(text) if text else None for text in (since, until))
    if first and last and first > last:
        raise UsageError(f"--from {since} is later than --to {until}")
    return first, last


def names(text: str | None) -> list[str] | None:
    """A comma-separated list; None where none was given.

    >>> names("BTC/USDT, ETH/USDT")
    ['BTC/USDT', 'ETH/USDT']
    """
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def steps(text: str | None) -> list[int] | None:
    """Horizons: a comma-separated list of numbers of candles; None where none was given.

    >>> steps("4,24")
    [4, 24]

    Raises:
        UsageError: one is no whole number from 1 to `FURTHEST`.
    """
    parts = names(text)
    if parts is None:
        return None
    if not all(re.fullmatch("[0-9]{1,6}", one) and 1 <= int(one) <= FURTHEST for one in parts):
        raise UsageError(
            f"--horizons {text}: whole numbers of candles, like 4,24, at most {FURTHEST}"
        )
    return [int(part) for part in parts]
