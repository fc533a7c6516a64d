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

_INTEGERS: Final = ("time", "instrument_id", "horizon", "detected", "model_id", "number")


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
    if (
        len(key) != 1 + len(shelf.key)
        or not all(
            isinstance(value, int if name in _INTEGERS else str)
            for name, value in zip(("time", *shelf.key), key, strict=True)
        )
        or not to_ms(EARLIEST) <= key[0] <= to_ms(LATEST)
    ):
        raise ProblemError("bad_cursor", "cursor is none that this server gave out")
    return list(key)
