"""State to bytes and back without pickle: plain values and arrays, exact to the bit."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

_ARRAY = "__array__"
_ESCAPE = "~"  # before a key that would read as the mark of an array, or as one so escaped


def pack(state: object) -> bytes:
    """Encode nested dicts (string keys), lists, tuples, strings, numbers, None and arrays.

    >>> unpack(pack({"weights": np.array([0.1, np.nan]), "count": 3}))["count"]
    3
    """
    return json.dumps(_plain(state), separators=(",", ":"), sort_keys=True).encode()


def unpack(data: bytes) -> Any:  # noqa: ANN401 - the shape is the caller's
    """The state that `pack` encoded; tuples come back as lists."""
    return json.loads(data, object_hook=_revive)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        body = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_ARRAY: body, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, dict):
        return {_escaped(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _escaped(key: str) -> str:
    return _ESCAPE + key if key.lstrip(_ESCAPE) == _ARRAY else key


def _bare(key: str) -> str:
    return key[1:] if key.lstrip(_ESCAPE) == _ARRAY else key


def _revive(document: dict[str, Any]) -> object:
    if _ARRAY not in document:
        return {_bare(key): item for key, item in document.items()}
    flat = np.frombuffer(base64.b64decode(document[_ARRAY]), dtype=document["dtype"])
    return flat.reshape(document["shape"]).copy()
