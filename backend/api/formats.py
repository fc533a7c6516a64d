"""How the rows of a list may be spelt, and which spelling a request asks for."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"


class Format(StrEnum):
    """The spellings of a list."""

    OBJECTS = "objects"
    COLUMNS = "columns"
    CSV = "csv"
    ARROW = "arrow"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES.get(self, JSON)


_MEDIA_TYPES: Final = {Format.CSV: CSV, Format.ARROW: ARROW}
ACCEPTED: Final = {JSON: Format.OBJECTS, CSV: Format.CSV, ARROW: Format.ARROW}  # the first is best


def chosen(accept: str) -> Format | None:
    """The spelling that an `Accept` header likes best, the first of equals; None: it likes none.

    >>> chosen("text/csv, application/json;q=0.5"), chosen("*/*"), chosen("text/html")
    (<Format.CSV: 'csv'>, <Format.OBJECTS: 'objects'>, None)
    """
    ranges = dict(_range(each) for each in accept.lower().split(",") if each.strip())
    if not ranges:
        return Format.OBJECTS
    liked = {media_type: _quality(media_type, ranges) for media_type in ACCEPTED}
    best = max(liked, key=lambda media_type: liked[media_type])
    return ACCEPTED[best] if liked[best] else None


def _range(text: str) -> tuple[str, float]:
    """A media range and its quality; one that is not a number counts as none."""
    name, *parameters = (part.strip() for part in text.split(";"))
    for each in parameters:
        key, _, value = each.partition("=")
        if key.strip() == "q":
            try:
                return name, float(value)
            except ValueError:
                return name, 1.0
    return name, 1.0


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """Of the range that names it most closely; 0 where none does."""
    kind = media_type.partition("/")[0]
    return next((ranges[one] for one in (media_type, f"{kind}/*", "*/*") if one in ranges), 0.0)
