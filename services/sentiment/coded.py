"""Scored items as numbers: what is kept of them in memory and weighed at a close."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.events import Bools, Floats, Ints
from services.sentiment.items import ScoredItems


def code(name: str) -> int:
    """A number for a name, the same in every process: 64 bits of its hash."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def codes(names: Iterable[str]) -> Ints:
    """The number of each."""
    return np.array([code(str(name)) for name in names], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodedItems:
    """Rows of scored items, shape (rows,), in an order that depends on the rows alone.

    So sums over them are the same to the bit, in whatever order the items came.
    """

    item: Ints  # source and item
    asset: Ints
    known_ms: Ints
    cluster: Ints
    published_ms: Ints
    polarity: Floats  # NaN = unknown
    weight: Floats  # but for its age: (1 + ln(1 + engagement)) × relevance × confidence
    source: Ints

    def __len__(self) -> int:
        return len(self.item)

    @classmethod
    def of(cls, scored: ScoredItems) -> CodedItems:
        names = zip(scored.source.tolist(), scored.item_id.tolist(), strict=True)
        engagement: Floats = np.log1p(np.maximum(np.nan_to_num(scored.engagement), 0.0))
        return _ordered(
            item=codes(f"{source}:{item_id}" for source, item_id in names),
            asset=codes(scored.asset),
            known_ms=scored.known_ms,
            cluster=codes(scored.cluster),
            published_ms=scored.published_ms,
            polarity=scored.polarity,
            weight=(1 + engagement) * scored.relevance * scored.confidence,
            source=codes(scored.source),
        )

    @classmethod
    def none(cls) -> CodedItems:
        whole: Ints = np.empty(0, dtype=np.int64)
        real: Floats = np.empty(0)
        return cls(
            item=whole,
            asset=whole,
            known_ms=whole,
            cluster=whole,
            published_ms=whole,
            polarity=real,
            weight=real,
            source=whole,
        )

    def columns(self) -> dict[str, NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: Ints | Bools) -> CodedItems:
        """The rows at `rows`, positions in rising order or a mask."""
        return CodedItems(**{name: values[rows] for name, values in self.columns().items()})

    @classmethod
    def joined(cls, parts: Sequence[CodedItems]) -> CodedItems:
        """The rows of all parts; there is at least one."""
        columns = [part.columns() for part in parts]
        return _ordered(
            **{name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
        )


def _ordered(**columns: NDArray[Any]) -> CodedItems:
    """By all columns, the first of them first."""
    order = np.lexsort(tuple(reversed(list(columns.values()))))
    return CodedItems(**{name: values[order] for name, values in columns.items()})
