"""A sample of stored feature rows, and the candles of their panels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Final

import asyncpg
import numpy as np

from backend.store.columns import CandlePanel
from backend.store.copy import POSTGRES_EPOCH_MS, decode
from domain.events import Floats, Ints
from domain.market import Instrument, Timeframe, to_ms

# Panels in turn, so that each timeframe has its share.
_SAMPLE: Final = """
WITH drawn AS (
    SELECT exchange, symbol, instrument_id, timeframe, as_of, revision, row_number() OVER (
        PARTITION BY exchange, timeframe ORDER BY hashtextextended(
            concat_ws(' ', instrument_id, extract(epoch FROM as_of)::bigint, revision), $2
        )
    ) AS place
    FROM ml_features_ohlcv JOIN instruments USING (instrument_id)
    WHERE feature_set = $1 AND as_of >= $3
), chosen AS (
    SELECT * FROM drawn ORDER BY place, exchange, timeframe LIMIT $4
)
SELECT exchange, symbol, timeframe, as_of, revision, known_at, coverage, row_hash,
    array_replace("values", NULL, 'NaN') AS row, (
        SELECT min(newer.known_at) FROM ml_features_ohlcv AS newer
        WHERE (newer.instrument_id, newer.timeframe, newer.feature_set, newer.as_of)
            = (chosen.instrument_id, chosen.timeframe, $1, chosen.as_of)
            AND newer.revision > chosen.revision
    ) AS superseded_at
FROM chosen JOIN ml_features_ohlcv AS stored USING (instrument_id, timeframe, as_of, revision)
WHERE stored.feature_set = $1 ORDER BY exchange, timeframe, as_of, symbol, revision
"""
_MEMBERS: Final = """
SELECT instrument_id, symbol, joined_at FROM instruments WHERE exchange = $1 AND EXISTS (
    SELECT FROM ml_features_ohlcv AS stored WHERE stored.instrument_id = instruments.instrument_id
        AND timeframe = $2 AND feature_set = $3
) ORDER BY symbol
"""
_CANDLES: Final = """
SELECT instrument_id, open_time, open, high, low, close, volume, revision FROM candles
WHERE instrument_id = ANY($1::int[]) AND timeframe = $2 AND open_time >= $3 AND open_time < $4
"""
_CANDLE_FIELDS: Final = (
    ("instrument_id", "i4"),
    ("open_time", "i8"),
    ("open", "f8"),
    ("high", "f8"),
    ("low", "f8"),
    ("close", "f8"),
    ("volume", "f8"),
    ("revision", "i4"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServedRow:
    """One revision of a feature row as it is stored."""

    instrument: Instrument
    timeframe: Timeframe
    as_of: datetime
    revision: int
    known_at: datetime
    coverage: float
    row_hash: bytes
    values: Floats  # (columns,); NaN where not known
    superseded_at: datetime | None  # None: it is the newest of its close


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The instruments of one exchange and timeframe that have rows, by symbol."""

    exchange: str
    timeframe: Timeframe
    feature_set: str
    instruments: tuple[Instrument, ...]
    ids: tuple[int, ...]
    joined: dict[Instrument, datetime | None]  # in no cross-section up to then

    @property
    def key(self) -> tuple[list[int], str, str]:
        """What queries ask by."""
        return list(self.ids), self.timeframe.value, self.feature_set


async def sample(
    connection: asyncpg.Connection, feature_set: str, *, count: int, seed: int, since: datetime
) -> list[ServedRow]:
    """At most `count` rows with as_of ≥ `since`, the same for the same seed and rows."""
    rows = await connection.fetch(_SAMPLE, feature_set, seed, since, count)
    same = ("as_of", "revision", "known_at", "coverage", "row_hash", "superseded_at")
    return [
        ServedRow(
            instrument=Instrument(row["exchange"], row["symbol"]),
            timeframe=Timeframe(row["timeframe"]),
            values=np.array(row["row"], dtype=np.float64),
            **{name: row[name] for name in same},
        )
        for row in rows
    ]


async def members(
    connection: asyncpg.Connection, exchange: str, timeframe: Timeframe, feature_set: str
) -> Members:
    rows = await connection.fetch(_MEMBERS, exchange, timeframe.value, feature_set)
    instruments = tuple(Instrument(exchange, row["symbol"]) for row in rows)
    moments = (row["joined_at"] for row in rows)
    return Members(
        exchange=exchange,
        timeframe=timeframe,
        feature_set=feature_set,
        instruments=instruments,
        ids=tuple(row["instrument_id"] for row in rows),
        joined=dict(zip(instruments, moments, strict=True)),
    )


async def candles(
    connection: asyncpg.Connection, of: Members, *, since: datetime, until: datetime
) -> CandlePanel:
    """The candles that count now, on the grid since ≤ open time < until."""
    output, ids, length_ms = BytesIO(), np.array(of.ids), of.timeframe.ms
    await connection.copy_from_query(
        _CANDLES, list(of.ids), of.timeframe.value, since, until, output=output, format="binary"
    )
    found = decode(output.getvalue(), _CANDLE_FIELDS)
    grid = np.arange(to_ms(since), to_ms(until), length_ms, dtype=np.int64)
    rows = (found["open_time"] // 1000 + POSTGRES_EPOCH_MS - to_ms(since)) // length_ms
    order = np.argsort(ids)
    places = order[np.searchsorted(ids[order], found["instrument_id"])]
    prices = {}
    for name in ("open", "high", "low", "close", "volume"):
        prices[name] = np.full((len(grid), len(ids)), np.nan)
        prices[name][rows, places] = found[name]
    revision: Ints = np.zeros((len(grid), len(ids)), dtype=np.int64)
    revision[rows, places] = found["revision"]
    return CandlePanel(
        instruments=of.instruments,
        timeframe=of.timeframe,
        open_ms=grid,
        revision=revision,
        **prices,
    )
