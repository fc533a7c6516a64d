"""Objects of River as JSON: what pickle would write, read back by building named classes only.

River's trees are webs of small objects that have no format of their own. Reading calls no
function that the text names: a class must be one of River's or of a short list, is made by
`__new__`, and is given its attributes.
"""

from __future__ import annotations

import base64
import copyreg
import functools
import importlib
import json
import random
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from domain.errors import ArtifactError

LIBRARY: Final = "river"
OTHERS: Final = {
    f"{one.__module__}:{one.__qualname__}": one
    for one in (random.Random, Counter, defaultdict, deque, functools.partial, float, int, object)
}
# Unseeded generators that are drawn from only where somebody samples, which learning never does.
IDLE: Final = {"river.proba.gaussian:Gaussian": "_rng"}
PLAIN: Final = (bool, int, float, str, type(None))


def pack_objects(thing: object) -> str:
    """`thing` and all that it holds; equal structures give equal texts.

    Raises:
        ArtifactError: an object of a class that would not be read back.
    """
    text = json.dumps(_Writer().written(thing), separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode())).decode()


def unpack_objects(text: str) -> Any:  # noqa: ANN401 - what was packed
    """What `pack_objects` was given.

    Raises:
        ArtifactError: the text is not of it, or names a class that may not be built.
    """
    try:
        written = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        return _Reader().read(written)
    except (ValueError, zlib.error, TypeError, AttributeError, IndexError, KeyError) as error:
        raise ArtifactError(f"the objects cannot be read: {error}") from error


class _Writer:
    """Numbers what can be shared in the order in which it is met."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # so that no number is given twice
        self._idle = random.Random(0)  # noqa: S311 - in the place of all of IDLE

    def written(self, thing: object) -> Any:  # noqa: ANN401 - JSON
        if isinstance(thing, np.generic):
            thing = thing.item()
        if type(thing) in PLAIN:
            return thing
        if isinstance(thing, type):
            return ["class", _name(thing)]
        if type(thing) is bytes:
            return ["bytes", base64.b64encode(thing).decode()]
        if type(thing) is tuple:
            return ["tuple", [self.written(one) for one in thing]]
        if id(thing) in self._numbers:
            return ["same", self._numbers[id(thing)]]
        self._numbers[id(thing)] = len(self._kept)
        self._kept.append(thing)
        return self._shared(thing)

    def _shared(self, thing: object) -> list[Any]:
        if type(thing) is list:
            return ["list", [self.written(one) for one in thing]]
        if type(thing) is dict:
            return ["dict", self._pairs(thing.items())]
        if type(thing) is set:
            return ["set", [self.written(one) for one in sorted(thing)]]
        reduced: Any = thing.__reduce_ex__(2)
        made, arguments, *rest = reduced
        state, items, pairs = (*rest, None, None, None)[:3]
        if _name(type(thing)) in IDLE:
            state = {**state, IDLE[_name(type(thing))]: self._idle}
        if made is copyreg.__newobj__:  # type: ignore[attr-defined]
            made, *arguments = arguments
        return [
            "object",
            _name(made),
            [self.written(one) for one in arguments],
            self.written(state),
            [self.written(one) for one in items or ()],
            self._pairs(pairs or ()),
        ]

    def _pairs(self, pairs: Any) -> list[list[Any]]:  # noqa: ANN401 - an iterable of pairs
        return [[self.written(key), self.written(value)] for key, value in pairs]


class _Reader:
    def __init__(self) -> None:
        self._known: list[Any] = []
        self._of: dict[str, Callable[..., Any]] = {
            "class": _class,
            "bytes": base64.b64decode,
            "tuple": lambda parts: tuple(self.read(one) for one in parts),
            "same": lambda number: self._known[number],
            "list": self._list,
            "dict": self._dict,
            "set": self._set,
            "object": self._object,
        }

    def read(self, written: Any) -> Any:  # noqa: ANN401 - JSON
        if not isinstance(written, list):
            return written
        tag, *parts = written
        return self._of[tag](*parts)

    def _list(self, parts: list[Any]) -> list[Any]:
        made: list[Any] = []
        self._known.append(made)
        made += [self.read(one) for one in parts]
        return made

    def _dict(self, pairs: list[Any]) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        self._known.append(made)
        made |= {self.read(key): self.read(value) for key, value in pairs}
        return made

    def _set(self, parts: list[Any]) -> set[Any]:
        made: set[Any] = set()
        self._known.append(made)
        made |= {self.read(one) for one in parts}
        return made

    def _object(self, name: str, arguments: list[Any], *rest: Any) -> Any:  # noqa: ANN401
        state, items, pairs = rest
        of, place = _class(name), len(self._known)
        self._known.append(None)
        given = [self.read(one) for one in arguments]
        made = of(*given) if name in OTHERS else of.__new__(of, *given)
        self._known[place] = made
        _set_state(made, self.read(state))
        for one in items:
            made.append(self.read(one))
        for key, value in pairs:
            made[self.read(key)] = self.read(value)
        return made


def _set_state(made: Any, state: Any) -> None:  # noqa: ANN401
    if state is None:
        return
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    for one in (attributes, slots):
        for name, value in (one or {}).items():
            object.__setattr__(made, name, value)


def _name(of: Any) -> str:  # noqa: ANN401 - of others
    name = f"{of.__module__}:{of.__qualname__}"
    if _class(name) is not of:
        raise ArtifactError(f"{name} is not found under its name")
    return name


def _class(name: str) -> type[Any]:
    """A class that may be built.

    Raises:
        ArtifactError: it may not.
    """
    if name in OTHERS:
        return OTHERS[name]
    module, _, qualified = name.partition(":")
    if module.partition(".")[0] != LIBRARY:
        raise ArtifactError(f"{name} is no class that may be built")
    found = functools.reduce(getattr, qualified.split("."), importlib.import_module(module))
    if not isinstance(found, type) or found.__module__.partition(".")[0] != LIBRARY:
        raise ArtifactError(f"{name} is no class of {LIBRARY}")
    return found
