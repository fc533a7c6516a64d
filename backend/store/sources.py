"""Texts, what they score, measurements, states of sources: written once, read as of a moment."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
import numpy as np

from backend.store import seals
from backend.store.database import PoolOrConnection, affected
from backend.store.instruments import Instruments
from backend.store.leases import Fence, no_fence
from domain.market import Instrument, from_ms, to_ms
from domain.ports import Clock
from domain.sources import (
    Measurement,
    Metric,
    SourceState,
    SourceStatus,
    TextItem,
    TextKind,
)
from services.sentiment.items import ScoredItems

_HASH_BYTES: Final = 16
_ITEM_COLUMNS: Final = 13  # of `_WRITE`

# The index: sentiment_items_pkey.
_NEWEST: Final = """
SELECT DISTINCT ON (source, item_id) source, item_id, content_hash FROM sentiment_items
JOIN unnest($1::text[], $2::text[]) AS asked (source, item_id) USING (source, item_id)
ORDER BY source, item_id, known_at DESC
"""
# Items with their scores, each as columns.
_WRITE: Final = """
WITH items AS (
    INSERT INTO sentiment_items (source, item_id, known_at, published_at, dating, kind, title,
        body, url, engagement, content_hash, language, cluster)
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[],
        $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::float8[], $11::bytea[],
        $12::text[], $13::text[])
    ON CONFLICT (source, item_id, known_at) DO NOTHING
)
INSERT INTO sentiment_scores (source, item_id, known_at, asset, scorer, polarity, confidence,
    relevance, scored_at)
SELECT told.*, $22 FROM unnest($14::text[], $15::text[], $16::timestamptz[], $17::text[],
    $18::text[], $19::float8[], $20::float8[], $21::float8[]) AS told
ON CONFLICT (source, item_id, known_at, asset, scorer) DO NOTHING
"""
# Of one fact a version that says the same as the newest known by then is none. The index:
# market_metrics_pkey.
_MEASURE: Final = """
INSERT INTO market_metrics (instrument_id, metric, event_time, known_at, value)
SELECT DISTINCT ON (instrument_id, metric, event_time, known_at) told.*
FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::float8[])
    AS told (instrument_id, metric, event_time, known_at, value)
WHERE value IS DISTINCT FROM (
    SELECT stored.value FROM market_metrics AS stored
    WHERE stored.instrument_id = told.instrument_id AND stored.metric = told.metric
        AND stored.event_time = told.event_time AND stored.known_at <= told.known_at
    ORDER BY stored.known_at DESC LIMIT 1
)
ON CONFLICT (instrument_id, metric, event_time, known_at) DO NOTHING
RETURNING 1
"""
# The indexes: sentiment_items_known_at_idx, sentiment_scores_pkey.
_SCORED: Final = """
SELECT source, item_id, asset, relevance, cluster, language, published_at, known_at, engagement,
    scorer, polarity, confidence
FROM sentiment_items JOIN sentiment_scores USING (source, item_id, known_at)
WHERE known_at > $1 AND known_at <= $2 AND scorer = $3
ORDER BY known_at, source, item_id, asset
"""
# The index: sentiment_items_known_at_idx.
_TEXTS: Final = """
SELECT DISTINCT ON (source, item_id) source, item_id, published_at, known_at, title, body, kind
FROM sentiment_items WHERE known_at > $1 AND title IS NOT NULL
ORDER BY source, item_id, known_at
"""
_LATEST: Final = """
SELECT DISTINCT ON (instrument_id, metric) instrument_id, metric, event_time, known_at, value
FROM market_metrics WHERE known_at <= $1 AND event_time > $2
ORDER BY instrument_id, metric, event_time DESC, known_at DESC
"""
# The index: source_states_pkey. A state that a source has already is no change; of two at one
# moment, as while a simulated clock is held, the later is it.
_CHANGE: Final = """
INSERT INTO source_states (source, known_at, state, since, reason)
SELECT told.* FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::timestamptz[], $5::text[])
    AS told (source, known_at, state, since, reason)
WHERE NOT EXISTS (
    SELECT FROM (
        SELECT state, reason FROM source_states AS stored
        WHERE stored.source = told.source AND stored.known_at <= told.known_at
        ORDER BY stored.known_at DESC LIMIT 1
    ) AS newest
    WHERE newest.state = told.state AND newest.reason = told.reason
)
ON CONFLICT (source, known_at)
    DO UPDATE SET state = excluded.state, since = excluded.since, reason = excluded.reason
"""
STATES: Final = """
SELECT DISTINCT ON (source) source, state, since, reason FROM source_states WHERE known_at <= $1
ORDER BY source, known_at DESC
"""
_FORGET: Final = """
UPDATE sentiment_items SET title = NULL, body = NULL, url = NULL
WHERE kind = $1 AND known_at < $2 AND title IS NOT NULL
"""


class SourceStore:
    """Writes and reads `sentiment_items`, `_scores`, `market_metrics` and `source_states`."""

    def __init__(self, pool: PoolOrConnection, instruments: Instruments) -> None:
        self._pool = pool
        self._instruments = instruments
        self._fence: Fence = no_fence

    def fenced(self, fence: Fence) -> SourceStore:
        """One whose `dated` facts `fence` may refuse, on the same connections."""
        ours = copy(self)
        ours._fence = fence  # noqa: SLF001 - a copy of ourselves
        return ours

    @asynccontextmanager
    async def dated(self, clock: Clock, *, least_ms: int = 0) -> AsyncIterator[Dated]:
        """A transaction for facts that become known, and the date that all of them are to bear.

        It is after each close that was sealed and all facts that were stored before; nothing else
        is sealed or stored until the transaction ends. Instruments that are new are entered
        before.

        Args:
            clock: of the market.
            least_ms: the date is not before.

        Raises:
            LeaseLostError: of a fence; nothing is stored.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await seals.alone(connection)
            await self._fence(connection)
            moment = await seals.date(connection, clock, least_ms=least_ms)
            yield Dated(SourceStore(connection, self._instruments), moment)
            await seals.keep(connection, moment)

    async def news(self, items: Iterable[TextItem]) -> list[TextItem]:
        """Those that are not stored as they are: unknown items, and new versions of known ones.

        Engagement is told anew when it has doubled.
        """
        told = {(one.source, one.item_id): one for one in items}
        keys = [list(column) for column in zip(*told, strict=True)] or [[], []]
        stored = {
            (row["source"], row["item_id"]): row["content_hash"]
            for row in await self._pool.fetch(_NEWEST, *keys)
        }
        return [one for name, one in told.items() if stored.get(name) != content_hash(one)]

    async def write(
        self, items: Sequence[TextItem], scored: ScoredItems, *, scored_at: datetime
    ) -> None:
        """Store items with what was read of them, all or nothing; what is there stays as it is.

        Items that `scored` does not name have no language and no cluster. Further scores of
        items that are stored may come without them.
        """
        reading = {
            (str(source), str(item_id)): (str(language), str(cluster))
            for source, item_id, language, cluster in zip(
                scored.source, scored.item_id, scored.language, scored.cluster, strict=True
            )
        }
        rows = [
            (*_item(one), *reading.get((one.source, one.item_id), (None, None))) for one in items
        ]
        columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * _ITEM_COLUMNS
        await self._pool.execute(_WRITE, *columns, *_score_columns(scored), scored_at)

    async def measure(self, measurements: Sequence[Measurement]) -> int:
        """Store what is measured; how many of them were news."""
        ids = await self._instruments.ids([one.instrument for one in measurements])
        news = await self._pool.fetch(
            _MEASURE,
            ids.tolist(),
            [one.metric.value for one in measurements],
            [from_ms(one.event_ms) for one in measurements],
            [from_ms(one.known_ms) for one in measurements],
            [one.value for one in measurements],
        )
        return len(news)

    async def scored(self, since: datetime, until: datetime, *, scorer: str) -> ScoredItems:
        """What one scorer said of the items with since < known_at ≤ until, as they were known."""
        return _scored(await self._pool.fetch(_SCORED, since, until, scorer))

    async def texts(self, since: datetime) -> list[TextItem]:
        """The first version of each item known after `since`, unless its text is forgotten."""
        return [
            TextItem(
                source=row["source"],
                item_id=row["item_id"],
                published_ms=to_ms(row["published_at"]),
                known_ms=to_ms(row["known_at"]),
                title=row["title"],
                body=row["body"],
                kind=TextKind(row["kind"]),
            )
            for row in await self._pool.fetch(_TEXTS, since)
        ]

    async def latest(
        self, as_of: datetime, *, since: datetime
    ) -> dict[tuple[Instrument, Metric], Measurement]:
        """Of each metric the newest fact after `since`, as it was known at `as_of`."""
        found = await self._pool.fetch(_LATEST, as_of, since)
        measured = await measurements_of(found, self._instruments)
        return {(one.instrument, one.metric): one for one in measured}

    async def change(self, statuses: Sequence[SourceStatus], *, known_at: datetime) -> None:
        """Store the states of sources that are not what they were, as seen at `known_at`."""
        await self._pool.execute(
            _CHANGE,
            [one.source for one in statuses],
            [known_at] * len(statuses),
            [one.state.value for one in statuses],
            [min(one.since, known_at) for one in statuses],
            [one.reason for one in statuses],
        )

    async def states(self, as_of: datetime) -> dict[str, SourceStatus]:
        """How each source was doing, as far as it had been seen by `as_of`; none before its first.

        Of a time at which nothing ran it is what was seen last.
        """
        return {row["source"]: status_of(row) for row in await self._pool.fetch(STATES, as_of)}

    async def forget_texts(self, kind: TextKind, *, before: datetime) -> int:
        """Drop the texts of items known before a moment; scores, times and hashes stay."""
        return affected(await self._pool.execute(_FORGET, kind.value, before))


class Dated(NamedTuple):
    """A transaction for facts, and the date that all of them are to bear."""

    store: SourceStore
    moment: datetime


def status_of(row: asyncpg.Record) -> SourceStatus:
    """A row of `source_states`."""
    return SourceStatus(
        source=row["source"],
        state=SourceState(row["state"]),
        since=row["since"],
        reason=row["reason"],
    )


async def measurements_of(
    rows: Sequence[asyncpg.Record], instruments: Instruments
) -> list[Measurement]:
    """Rows of `market_metrics`, in their order."""
    ids = np.array([row["instrument_id"] for row in rows], dtype=np.int64)
    return [
        Measurement(
            instrument=instrument,
            metric=Metric(row["metric"]),
            event_ms=to_ms(row["event_time"]),
            known_ms=to_ms(row["known_at"]),
            value=row["value"],
        )
        for instrument, row in zip(await instruments.of(ids), rows, strict=True)
    ]


def content_hash(item: TextItem) -> bytes:
    """By which versions of an item are told apart; of engagement its power of two."""
    votes = -1 if math.isnan(item.engagement) else int(item.engagement).bit_length()
    parts = (item.title, item.body, item.url, str(votes))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=_HASH_BYTES).digest()


def _item(item: TextItem) -> tuple[Any, ...]:
    return (
        item.source,
        item.item_id,
        from_ms(item.known_ms),
        from_ms(item.published_ms),
        item.dating.value,
        item.kind.value,
        item.title,
        item.body,
        item.url,
        _known(item.engagement),
        content_hash(item),
    )


def _score_columns(scored: ScoredItems) -> tuple[list[Any], ...]:
    return (
        *(scored.source.tolist(), scored.item_id.tolist()),
        [from_ms(moment) for moment in scored.known_ms.tolist()],
        *(scored.asset.tolist(), scored.scorer.tolist()),
        [_known(value) for value in scored.polarity.tolist()],
        *(scored.confidence.tolist(), scored.relevance.tolist()),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _scored(found: Sequence[asyncpg.Record]) -> ScoredItems:
    def texts(name: str) -> Any:  # noqa: ANN401 - numpy's
        return np.array([row[name] or "" for row in found], dtype=np.str_)

    def floats(name: str) -> Any:  # noqa: ANN401 - as above
        values = (np.nan if row[name] is None else row[name] for row in found)
        return np.fromiter(values, np.float64, len(found))

    def times(name: str) -> Any:  # noqa: ANN401 - as above
        return np.fromiter((to_ms(row[name]) for row in found), np.int64, len(found))

    return ScoredItems(
        source=texts("source"),
        item_id=texts("item_id"),
        asset=texts("asset"),
        relevance=floats("relevance"),
        cluster=texts("cluster"),
        language=texts("language"),
        published_ms=times("published_at"),
        known_ms=times("known_at"),
        engagement=floats("engagement"),
        scorer=texts("scorer"),
        polarity=floats("polarity"),
        confidence=floats("confidence"),
    )
