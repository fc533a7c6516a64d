"""How much a month adds to the database: bytes that a live candle leaves, times candles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg

from backend.store.server import read_server
from domain.market import Timeframe

MONTH: Final = timedelta(days=30)
# As `alphapulse doctor` measured them after demos of one and two horizons; docs/benchmarks.md.
CANDLE_BYTES: Final = 4_400  # of a candle, whatever the horizons
HORIZON_BYTES: Final = 8_500  # more for each horizon, with the models of the default settings

# Rows of every candle, and rows of the live ones.
_OF_CANDLES: Final = ("candles", "ml_features_ohlcv", "ml_labels")
_OF_LIVE: Final = ("ml_prediction_outcomes", "trading_signals", "cross_sections", "ledger_marks")
# Of history too: the share that is live is counted.
_OF_BOTH: Final = {"ml_predictions": "predictions", "stream_blocks": "events"}
_SIZES: Final = """
SELECT relname, {size} AS bytes FROM pg_stat_user_tables
WHERE relname = ANY($1::text[]) AND schemaname = current_schema()
"""
_PLAIN: Final = "pg_total_relation_size(relid)"
_WITH_CHUNKS: Final = f"coalesce(hypertable_size(relid), {_PLAIN})"
_COUNTS: Final = """
WITH lived AS (
    SELECT min(as_of) AS since, coalesce(sum(cardinality(members)), 0)::int AS candles
    FROM cross_sections
)
SELECT (SELECT count(*) FROM candles)::int AS candles, lived.candles AS live,
    (SELECT avg((as_of >= since)::int)::float8 FROM ml_predictions) AS predictions,
    (SELECT coalesce(sum(length(payloads)) FILTER (WHERE as_of >= since), 0)::float8
        / sum(length(payloads)) FROM stream_blocks) AS events
FROM lived
"""
_NEWEST: Final = """
SELECT DISTINCT ON (exchange, timeframe) timeframe, cardinality(members) AS instruments
FROM cross_sections ORDER BY exchange, timeframe, as_of DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Of a database."""

    candle_bytes: float  # a live candle with all that is said of it, indexes included
    candles: float  # a month

    @property
    def gb_per_month(self) -> float:
        return self.candle_bytes * self.candles / 1e9


def candles_per_month(series: Iterable[tuple[Timeframe, int]]) -> float:
    """Of timeframes with so many instruments.

    >>> candles_per_month([(Timeframe.H1, 2)])
    1440.0
    """
    return sum(MONTH / timeframe.duration * instruments for timeframe, instruments in series)


def expected(series: Iterable[tuple[Timeframe, int]], *, horizons: int) -> Growth:
    """What series will add, by what was measured elsewhere."""
    return Growth(
        candle_bytes=CANDLE_BYTES + HORIZON_BYTES * horizons, candles=candles_per_month(series)
    )


async def table_sizes(pool: asyncpg.Pool) -> dict[str, int]:
    """Bytes of the tables that grow with candles, indexes included, as they are on the disk."""
    packed = (await read_server(pool)).has_columnstore
    statement = _SIZES.format(size=_WITH_CHUNKS if packed else _PLAIN)
    found = await pool.fetch(statement, [*_OF_CANDLES, *_OF_LIVE, *_OF_BOTH])
    return {row["relname"]: row["bytes"] for row in found}


async def measured(pool: asyncpg.Pool) -> Growth | None:
    """What this database's own rows say of the series that it follows; None: it has none live."""
    counts = await pool.fetchrow(_COUNTS)
    if not counts["live"]:
        return None
    sizes = await table_sizes(pool)
    history = sum(sizes[name] for name in _OF_CANDLES) / max(counts["candles"], 1)
    live: float = sum(sizes[name] for name in _OF_LIVE)
    live += sum(sizes[name] * (counts[share] or 0.0) for name, share in _OF_BOTH.items())
    rows = await pool.fetch(_NEWEST)
    return Growth(
        candle_bytes=history + live / counts["live"],
        candles=candles_per_month((Timeframe(row[0]), row[1]) for row in rows),
    )
