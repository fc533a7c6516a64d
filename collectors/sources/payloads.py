"""From bytes that a source sent to values that are checked; what is not readable is refused."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Annotated, Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from domain.sources import Answer, Dating, Measurement, Refused, TextItem

KEPT: Final = 65_536  # bytes of what is refused
LONGEST_KEY: Final = 256  # bytes; what an index takes in without trouble
LONGEST_TITLE, LONGEST_BODY, LONGEST_URL = 1_000, 20_000, 2_000  # characters
EARLIEST_MS: Final = 1_230_940_800_000  # 3 January 2009, Bitcoin's first block
LATEST_S: Final = 253_370_764_800  # the year 9999: no later time can be told

MOST: Final = 10**15  # of a whole number; a float holds it exactly

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # what no text in a table or in UTF-8 can hold
_WHOLE = re.compile(r"\d{1,12}", re.ASCII)

Model = TypeVar("Model", bound=BaseModel)
Fact = TypeVar("Fact", TextItem, Measurement)


class UnreadableError(Exception):
    """An answer that cannot be read at all."""


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST:
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise ValueError("not a whole number")


def _number(value: object) -> float:
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST:
        return float(value)
    raise ValueError("not a finite number")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - pydantic reports a ValueError
    return clean(value)


Whole = Annotated[int, BeforeValidator(_whole)]  # of JSON, or spelt in digits
Count = Annotated[Whole, Field(ge=0)]
Seconds = Annotated[Whole, Field(ge=0, le=LATEST_S)]  # since 1970
Milliseconds = Annotated[Whole, Field(ge=0, le=LATEST_S * 1000)]  # since 1970
Number = Annotated[float, BeforeValidator(_number)]  # finite
Words = Annotated[str, BeforeValidator(_text)]
SomeWords = Annotated[Words, Field(min_length=1)]


def clean(text: str, longest: int | None = None) -> str:
    """The text as a table can hold it, without white space around it."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:longest]).strip()


def key(text: str) -> str:
    """The identity of an item, short enough for an index.

    >>> key("https://example.org/a")
    'https://example.org/a'
    >>> len(key("a" * 3000))
    71
    """
    data = text.encode()
    return text if len(data) <= LONGEST_KEY else f"sha256:{hashlib.sha256(data).hexdigest()}"


def document(model: type[Model], body: bytes) -> Model:
    """The whole of a JSON answer.

    Raises:
        UnreadableError: it is something else.
    """
    try:
        value = json.loads(body, strict=False, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON: {fault(error)}") from error
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise UnreadableError(fault(error)) from error


def rows(
    model: type[Model], values: Sequence[Any], source: str
) -> tuple[list[Model], list[Refused]]:
    """Those that can be read, and those that cannot."""
    read: list[Model] = []
    refused: list[Refused] = []
    for value in values:
        try:
            read.append(model.model_validate(value))
        except ValidationError as error:
            refused.append(refusal(source, fault(error), spelled(value)))
    return read, refused


def refusal(source: str, reason: str, raw: bytes) -> Refused:
    return Refused(source=source, reason=reason, raw=raw[:KEPT], size=len(raw))


def spelled(value: object) -> bytes:
    """A part of a JSON document as bytes again."""
    return json.dumps(value, ensure_ascii=True, default=repr).encode()


def dated(told_ms: int | None, known_ms: int) -> tuple[int, Dating]:
    """When an item was published, as far as its source can be believed."""
    if told_ms is None or told_ms < EARLIEST_MS:
        return known_ms, Dating.MISSING
    return (known_ms, Dating.CLAMPED) if told_ms > known_ms else (told_ms, Dating.TOLD)


def distinct(
    told: Iterable[Fact], key_of: Callable[[Fact], Hashable], source: str
) -> tuple[tuple[Fact, ...], list[Refused]]:
    """The first of each key; what contradicts it under the same key is refused."""
    kept: dict[Hashable, Fact] = {}
    refused: list[Refused] = []
    for one in told:
        first = kept.setdefault(key_of(one), one)
        if repr(first) != repr(one):  # NaN is equal to NaN here
            refused.append(refusal(source, "contradicts a row before it", spelled(one)))
    return tuple(kept.values()), refused


def told_once(items: Iterable[TextItem], refused: Iterable[Refused], source: str) -> Answer:
    """An answer of texts: each identity once, beside what could not be read."""
    once, contradicting = distinct(items, lambda item: item.item_id, source)
    return Answer(items=once, refused=(*refused, *contradicting))


def fault(error: Exception) -> str:
    """What is wrong, in one line; of a schema the first three faults, without their values."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in faults[:3]
        )
    said = clean(" ".join(str(error).split()), 200)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
