"""Rows of scored items for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.sentiment.items import ScoredItems, joined

HOUR = 3_600_000


def scored(item_id: str, **changes: Any) -> ScoredItems:
    """One row: item `item_id` of `news` about BTC, known and published at 0, polarity 1."""
    row = {
        "source": "news",
        "item_id": item_id,
        "asset": "BTC",
        "relevance": 1.0,
        "language": "en",
        "published_ms": 0,
        "known_ms": 0,
        "engagement": np.nan,
        "scorer": "blend@1",
        "polarity": 1.0,
        "confidence": 1.0,
        **changes,
    }
    row.setdefault("cluster", f"{row['source']}:{item_id}")
    return ScoredItems(**{name: np.array([value]) for name, value in row.items()})


def rows(*parts: ScoredItems) -> ScoredItems:
    return joined(list(parts))
