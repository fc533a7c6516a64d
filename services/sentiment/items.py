"""What was made of texts: rows that know when they were known."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domain.events import Bools, Floats, Ints

Texts = NDArray[np.str_]

NO_ASSET: Final = ""  # of a text that names none: it counts for the market only


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredItems:
    """One row for each asset that an item speaks of; all columns have shape (rows,)."""

    source: Texts
    item_id: Texts
    asset: Texts
    relevance: Floats  # the asset's share of the item's mentions; an item's rows add up to 1
    cluster: Texts  # first item of the story, `source:item_id`
    language: Texts
    published_ms: Ints
    known_ms: Ints
    engagement: Floats
    scorer: Texts
    polarity: Floats  # NaN = unknown
    confidence: Floats

    def __len__(self) -> int:
        return len(self.source)

    def columns(self) -> dict[str, NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: Ints | Bools) -> ScoredItems:
        return ScoredItems(**{name: values[rows] for name, values in self.columns().items()})


def joined(parts: list[ScoredItems]) -> ScoredItems:
    """The rows of all parts, of which there is at least one, one part after another."""
    columns = [part.columns() for part in parts]
    return ScoredItems(
        **{name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
    )
