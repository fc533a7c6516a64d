"""Facts of sources read back in the order in which they became known."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from backend.store.database import PoolOrConnection
from backend.store.instruments import Instruments
from backend.store.sources import SourceStore, measurements_of, status_of
from domain.market import to_ms
from domain.sources import Measurement, SourceStatus
from services.sentiment.features import SentimentFeatures
from services.sentiment.items import ScoredItems

RECALLED: Final = timedelta(days=10)  # of facts at a start; what is older stands as it was joined
EVER: Final = datetime.max.replace(tzinfo=UTC)

# The index: market_metrics_known_at_idx.
_MEASURED: Final = """
SELECT instrument_id, metric, event_time, known_at, value FROM market_metrics
WHERE known_at > $1 AND known_at <= $2
"""
# The index: source_states_known_at_idx.
_CHANGES: Final = """
SELECT source, known_at, state, since, reason FROM source_states
WHERE known_at > $1 AND known_at <= $2 ORDER BY known_at, source
"""


class Facts(NamedTuple):
    """What became known in some time."""

    changes: list[tuple[datetime, SourceStatus]]  # of states, in their order
    scored: ScoredItems
    measured: list[Measurement]

    def join(self, told: SentimentFeatures) -> None:
        """Put them in, all at once."""
        for known_at, status in self.changes:
            told.on_statuses([status], known_at)
        told.on_scored(self.scored)
        told.on_measurements(self.measured)

    def newest_ms(self) -> int:
        """The last moment at which any became known; 0 where none did."""
        return max(
            (
                *(to_ms(known_at) for known_at, _ in self.changes),
                *self.scored.known_ms.tolist(),
                *(one.known_ms for one in self.measured),
            ),
            default=0,
        )


async def facts(
    pool: PoolOrConnection,
    instruments: Instruments,
    *,
    since: datetime,
    until: datetime,
    scorer: str,
) -> Facts:
    """What became known with since < known_at ≤ until; texts as `scorer` has them."""
    changed = await pool.fetch(_CHANGES, since, until)
    changes = [(row["known_at"], status_of(row)) for row in changed]
    scored = await SourceStore(pool, instruments).scored(since, until, scorer=scorer)
    found = await pool.fetch(_MEASURED, since, until)
    return Facts(changes, scored, await measurements_of(found, instruments))


async def recall(
    pool: PoolOrConnection,
    instruments: Instruments,
    *,
    since: datetime,
    until: datetime = EVER,
    scorer: str,
) -> tuple[SentimentFeatures, int]:
    """What became known with since < known_at ≤ until, as a room, and when the last did, in ms."""
    told = SentimentFeatures(since=since)
    before = await SourceStore(pool, instruments).states(since)
    told.on_statuses(before.values(), since)
    found = await facts(pool, instruments, since=since, until=until, scorer=scorer)
    await asyncio.to_thread(found.join, told)  # of ten days: seconds
    return told, found.newest_ms()
