"""How single parameters are read: times, words, numbers, one or several."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from domain.errors import shortened
from domain.market import EPOCH, FURTHEST, Timeframe

EARLIEST: Final = EPOCH
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)  # far enough, and room to reckon beyond it
_EPOCH_UNITS: Final = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6))  # below: per second, in s, ms, µs
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def parse_time(text: object) -> datetime:
    """A time as ISO 8601 (UTC unless it names an offset), or as epoch s, ms or µs.

    The unit of a number follows from its size.

    >>> parse_time("2026-01-01") == parse_time("1767225600") == parse_time("1767225600000")
    True
    """
    if isinstance(text, datetime):
        return text
    spelled = str(text).strip().replace(" ", "+")  # a `+` that was not percent-encoded
    try:
        moment = _from_epoch(spelled) if _NUMBER.fullmatch(spelled) else _from_iso(spelled)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{shortened(str(text))!r} is no time;"
            " use ISO 8601 (2026-01-01T00:00:00Z) or epoch s, ms or µs"
        ) from None
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"{shortened(str(text))!r} lies outside 1970-01-01 to 2100-01-01")
    return moment


def _from_iso(text: str) -> datetime:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}\+\d{2}:\d{2}.*", text):
        text = text.replace("+", " ", 1)  # a date and a time with a space between
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _from_epoch(text: str) -> datetime:
    value = float(text)
    for bound, per_second in _EPOCH_UNITS:
        if abs(value) < bound:
            return datetime.fromtimestamp(value / per_second, UTC)
    raise ValueError


def _split(value: Any) -> Any:  # noqa: ANN401 - whatever the query held
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list):
        return parts
    words = [each.strip() for part in parts for each in str(part).split(",")]
    if "" in words:
        raise ValueError("an empty name")
    return words


def _known_timeframe(values: list[str]) -> list[str]:
    return [Timeframe.parse(value).value for value in values]


def one_of(noun: str, known: tuple[str, ...]) -> AfterValidator:
    """Accepts `known` only; a filter that no row can match is a mistake."""

    def checked(values: list[str]) -> list[str]:
        for value in values:
            if value not in known:
                said = f"unknown {noun} {shortened(value)!r}; known: {', '.join(known)}"
                raise ValueError(said)
        return values

    return AfterValidator(checked)


Utc = Annotated[datetime, BeforeValidator(parse_time)]
Words = Annotated[list[str], BeforeValidator(_split)]
Horizons = Annotated[list[Annotated[int, Field(ge=1, le=FURTHEST)]], BeforeValidator(_split)]
Timeframes = Annotated[list[str], BeforeValidator(_split), AfterValidator(_known_timeframe)]
