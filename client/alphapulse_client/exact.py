"""JSON read with the exact text of its values: a hash is over bytes, not over what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecoder
from typing import Any, Final

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = JSONDecoder()


class Reader:
    """Walks through a JSON text; whoever enters an object reads each value before the next name.

    Args:
        text: one JSON value.

    Raises:
        ValueError: from every method, where the text is not JSON.

    >>> reader = Reader('{"id": 1, "data": {"b" : 1.50}}')
    >>> {name: reader.value() for name in reader.members()}["data"]
    ({'b': 1.5}, '{"b" : 1.50}')
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def members(self) -> Iterator[str]:
        """The names of the object that begins here."""
        self._expect("{")
        more = not self._take("}")
        while more:
            name, _ = self.value()
            self._expect(":")
            yield str(name)
            more = self._take(",")
            if not more:
                self._expect("}")

    def elements(self) -> Iterator[None]:
        """Stands before each element of the array that begins here."""
        self._expect("[")
        more = not self._take("]")
        while more:
            yield None
            more = self._take(",")
            if not more:
                self._expect("]")

    def value(self) -> tuple[Any, str]:
        """The value that begins here, and its text."""
        begin = self._skip()
        value, self._at = _DECODER.raw_decode(self._text, begin)
        return value, self._text[begin : self._at]

    def _skip(self) -> int:
        blank = _BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at
        return self._at

    def _take(self, sign: str) -> bool:
        found = self._text.startswith(sign, self._skip())
        self._at += found
        return found

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(f"{sign!r} was expected at {self._at}")


Row = tuple[dict[str, Any], str]  # an object's members, and the text of its member `data`


def frame(text: str) -> Row:
    """A JSON object; its second part is empty where it has no member `data`.

    Raises:
        ValueError: it is none.
    """
    return _object(Reader(text))


def page(text: str) -> tuple[list[Row], dict[str, Any]]:
    """The rows of an answer's `data`, each as `frame` gives it, and the answer's other members.

    Raises:
        ValueError: it is none.
    """
    reader, rows, others = Reader(text), list[Row](), dict[str, Any]()
    for name in reader.members():
        if name == "data":
            rows.extend(_object(reader) for _ in reader.elements())
        else:
            others[name], _ = reader.value()
    return rows, others


def _object(reader: Reader) -> Row:
    members, payload = dict[str, Any](), ""
    for name in reader.members():
        members[name], spelt = reader.value()
        payload = spelt if name == "data" else payload
    return members, payload
