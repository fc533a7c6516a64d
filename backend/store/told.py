"""Facts of sources read back in the order in which they became known."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg
import numpy as np

from backend.store.instruments import Instruments
from backend.store.sources import SourceStore
from domain.market import to_ms
from domain.sources import Measurement, Metric, SourceState, SourceStatus
from services.sentiment.features import SentimentFeatures

_MEASURED: Final = """
SELECT instrument_id, metric, event_time, known_at, value FROM market_metrics WHERE known_at > $1
"""
# The index: source_states_pkey.
_CHANGES: Final = """
SELECT source, known_at, state, since, reason FROM source_states WHERE known_at > $1
ORDER BY known_at, source
"""


async def recall(
    pool: asyncpg.Pool, instruments: Instruments, *, since: datetime, until: datetime, scorer: str
) -> SentimentFeatures:
    """What became known with since < known_at ≤ until, as a room; texts as `scorer` has them."""
    store = SourceStore(pool, instruments)
    told = SentimentFeatures(since=since)
    told.on_statuses((await store.states(since)).values(), since)
    for row in await pool.fetch(_CHANGES, since):
        state = SourceState(row["state"])
        status = SourceStatus(
            source=row["source"], state=state, since=row["since"], reason=row["reason"]
        )
        told.on_statuses([status], row["known_at"])
    told.on_scored(await store.scored(since, until, scorer=scorer))
    found = await pool.fetch(_MEASURED, since)
    numbers = np.array([row["instrument_id"] for row in found], dtype=np.int64)
    told.on_measurements(
        Measurement(
            instrument=instrument,
            metric=Metric(row["metric"]),
            event_ms=to_ms(row["event_time"]),
            known_ms=to_ms(row["known_at"]),
            value=row["value"],
        )
        for instrument, row in zip(await instruments.of(numbers), found, strict=True)
    )
    return told
