"""Opaque page marks: the last row's key, bound to the request that it belongs to."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, Final

import orjson

from backend.api.parameters import Paged
from backend.api.problems import ProblemError
from backend.api.shelves import Filters, Shelf
from backend.api.values import EARLIEST, LATEST
from domain.market import to_ms

_TIMES: Final = range(to_ms(EARLIEST), to_ms(LATEST) + 1)
_INTEGERS: Final = {
    **dict.fromkeys(("time", "detected"), _TIMES),
    **dict.fromkeys(("instrument_id", "horizon"), range(2**31)),
    **dict.fromkeys(("model_id", "number"), range(2**63)),
}


def fingerprint(shelf: Shelf, selection: Paged, filters: Filters) -> str:
    asked = selection.model_dump(mode="json", exclude={"cursor", "limit", "format"})
    text = orjson.dumps([shelf.table, asked, filters], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]


def encode(key: list[Any], made_for: str) -> str:
    text = orjson.dumps([made_for, to_ms(key[0]), *key[1:]])
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode(cursor: str, made_for: str, shelf: Shelf) -> list[Any]:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        found, *key = orjson.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, TypeError, binascii.Error):
        raise ProblemError("bad_cursor", "cursor is none that this server gave out") from None
    if found != made_for:
        raise ProblemError("bad_cursor", "cursor belongs to a request with other parameters")
    names = ("time", *shelf.key)
    if len(key) != len(names) or not all(map(_fits, names, key)):
        raise ProblemError("bad_cursor", "cursor is none that this server gave out")
    return list(key)


def _fits(name: str, value: object) -> bool:
    if name in _INTEGERS:
        return type(value) is int and value in _INTEGERS[name]  # JSON's true is an int too
    return isinstance(value, str)
