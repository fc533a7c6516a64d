"""Near duplicates: texts that say the same in almost the same words share a cluster.

A text is its pairs of neighbouring words; two texts are one story where the Jaccard similarity of
their pairs is at least `ALIKE`. A sketch of the `SKETCH` smallest hashes stands for longer texts
(Broder, On the resemblance and containment of documents, 1997); for a headline it is all pairs.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

ALIKE: Final = 0.5
SKETCH: Final = 32  # hashes; the similarity of long texts is known to ± 0.09
REMEMBERED_MS: Final = 48 * 3_600_000  # a story that comes back later is a new one
CAPACITY: Final = 20_000  # items; about 40 MB if all of them are long

Sketch = frozenset[int]

_WORD = re.compile(r"[^\W_]+")  # numbers too: $33k and $34k are two stories


def sketch(text: str) -> Sketch:
    """The smallest hashes of the pairs of neighbouring words of a normalised text."""
    found = _WORD.findall(text.lower())
    pairs = {f"{one} {other}" for one, other in pairwise(found)} or set(found)
    return frozenset(sorted(map(_hash, pairs))[:SKETCH])


def _hash(pair: str) -> int:
    return int.from_bytes(hashlib.blake2b(pair.encode(), digest_size=8).digest(), "big")


def similarity(one: Sketch, other: Sketch) -> float:
    """Jaccard similarity of the pairs: exact up to `SKETCH` pairs together, else an estimate."""
    union = sorted(one | other)[:SKETCH]
    return len(one & other & frozenset(union)) / len(union) if union else 0.0


class Clusters:
    """The first item of each story, and which items belong to it; the oldest are forgotten."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._items: OrderedDict[str, tuple[int, str]] = OrderedDict()  # key → known at, leader
        self._leaders: dict[str, Sketch] = {}
        self._holders: defaultdict[int, dict[str, None]] = defaultdict(dict)  # hash → leaders

    def on_text(self, key: str, text: str, known_ms: int) -> str:
        """The key of the first item that said the same; the item's own where none did.

        Items come in the order in which they were known. One that comes again keeps its cluster.
        """
        self._forget(known_ms - REMEMBERED_MS)
        if key in self._items:
            return self._items[key][1]
        hashes = sketch(text)
        leader = self._leader_of(hashes)
        if leader is None:
            leader = key
            self._lead(key, hashes)
        self._items[key] = (known_ms, leader)
        if len(self._items) > self._capacity:
            self._drop()
        return leader

    def _leader_of(self, hashes: Sketch) -> str | None:
        """The most similar leader, of equals the eldest."""
        shared = Counter(leader for one in sorted(hashes) for leader in self._holders.get(one, ()))
        least = ALIKE * len(hashes)  # which the similarity cannot reach with fewer in common
        near = [
            (-alike, self._items[leader][0], leader)
            for leader, common in shared.items()
            if common >= least and (alike := similarity(hashes, self._leaders[leader])) >= ALIKE
        ]
        return min(near)[2] if near else None

    def _lead(self, key: str, hashes: Sketch) -> None:
        self._leaders[key] = hashes
        for one in hashes:
            self._holders[one][key] = None

    def _forget(self, before_ms: int) -> None:
        while self._items and next(iter(self._items.values()))[0] < before_ms:
            self._drop()

    def _drop(self) -> None:
        """Forget the oldest item, and its story where it was the first of one."""
        key, _ = self._items.popitem(last=False)
        for one in self._leaders.pop(key, ()):
            del self._holders[one][key]
            if not self._holders[one]:
                del self._holders[one]

    def snapshot(self) -> dict[str, Any]:
        return {
            "items": [[key, known_ms, leader] for key, (known_ms, leader) in self._items.items()],
            "leaders": {key: sorted(hashes) for key, hashes in self._leaders.items()},
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], *, capacity: int = CAPACITY) -> Clusters:
        clusters = cls(capacity=capacity)
        for key, known_ms, leader in state["items"]:
            clusters._items[key] = (known_ms, leader)
        for key, hashes in state["leaders"].items():
            clusters._lead(key, frozenset(hashes))
        return clusters
