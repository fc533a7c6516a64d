"""Which candles were corrected after their close was answered, by the record of feature rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from backend.store.served_rows import Members
from domain.market import from_ms, to_ms

Prices = tuple[float, ...]  # open, high, low, close, volume

_PANEL: Final = "instrument_id = ANY($1::int[]) AND timeframe = $2 AND feature_set = $3"
_CORRECTED: Final = f"""
SELECT instrument_id, as_of, revision, known_at, "values"[1:5] AS candle FROM ml_features_ohlcv
WHERE {_PANEL} AND (instrument_id, as_of) IN (
    SELECT instrument_id, as_of FROM ml_features_ohlcv WHERE {_PANEL} AND revision > 1
) ORDER BY as_of, instrument_id, revision
"""  # noqa: S608 - words of ours
# First rows that are in no cross-section. Those of history have none to be in, and are known at
# their close, as their candles are. `told_at`: when there was a candle at the earliest.
_AFTERWARDS: Final = f"""
SELECT * FROM (
    SELECT stored.instrument_id, as_of, known_at, members, arrived_at, "values"[1:5] AS candle,
        "values"[(
            SELECT array_position(columns, 'market_return_1') FROM feature_sets
            WHERE feature_set = $3
        )] IS NOT NULL AS compared, least((
            SELECT known_at FROM candles WHERE instrument_id = stored.instrument_id
                AND timeframe = $2 AND open_time = as_of - $5::interval
        ), (
            SELECT min(known_at) FROM candle_revisions WHERE instrument_id = stored.instrument_id
                AND timeframe = $2 AND open_time = as_of - $5::interval
        )) AS told_at
    FROM ml_features_ohlcv AS stored LEFT JOIN (
        SELECT as_of, members, arrived_at FROM cross_sections
        WHERE exchange = $4 AND timeframe = $2
    ) AS drawn USING (as_of)
    WHERE {_PANEL} AND revision = 1
) AS made WHERE CASE WHEN members IS NULL THEN greatest(known_at, told_at) > as_of
    ELSE NOT instrument_id = ANY(members) END
"""  # noqa: S608 - words of ours
_VERSIONS: Final = " UNION ALL ".join(
    f"""
SELECT told.instrument_id, told.close_time, ARRAY[open, high, low, close, volume] AS candle
FROM unnest($1::int[], $2::timestamptz[]) AS wanted (instrument_id, open_time)
JOIN {table} AS told USING (instrument_id, open_time) WHERE told.timeframe = $3
"""  # noqa: S608 - words of ours
    for table in ("candles", "candle_revisions")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMade:
    """When a row was made of which candle."""

    place: int  # of its instrument among the members
    as_of_ms: int
    revision: int
    known_ms: int
    candle: Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRow(RowMade):
    """The first row of a candle that is not in the cross-section of its close."""

    told_ms: int  # when there was a cross-section, and a version of the candle
    drawn: bool  # whether there was a cross-section
    compared: bool  # with whatever others there were

    @property
    def dated(self) -> bool:
        """Whether a start has made it, as if nobody had missed its candle at the close."""
        return self.known_ms == self.as_of_ms < self.told_ms


async def corrected(connection: asyncpg.Connection, of: Members) -> list[RowMade]:
    """All revisions of the rows that have several, by close, instrument and revision."""
    rows = await connection.fetch(_CORRECTED, *of.key)
    return [RowMade(revision=row["revision"], **_made(row, of)) for row in rows]


async def afterwards(connection: asyncpg.Connection, of: Members) -> list[LateRow]:
    """The first rows of candles that came after their close was answered."""
    rows = await connection.fetch(_AFTERWARDS, *of.key, of.exchange, of.timeframe.duration)
    return [
        LateRow(
            revision=1,
            told_ms=max(
                to_ms(row[name]) for name in ("as_of", "told_at", "arrived_at") if row[name]
            ),
            drawn=row["members"] is not None,
            compared=row["compared"],
            **_made(row, of),
        )
        for row in rows
    ]


async def versions(
    connection: asyncpg.Connection, of: Members, cells: Sequence[tuple[int, int]]
) -> set[tuple[int, int, Prices]]:
    """Every version that was ever told of candles: (as_of in ms, place, prices).

    Args:
        connection: to read by.
        of: whose.
        cells: (as_of in ms, place) of each.
    """
    ids = [of.ids[place] for _, place in cells]
    opened = [from_ms(as_of_ms - of.timeframe.ms) for as_of_ms, _ in cells]
    places = {number: place for place, number in enumerate(of.ids)}
    rows = await connection.fetch(_VERSIONS, ids, opened, of.timeframe.value)
    return {
        (to_ms(row["close_time"]), places[row["instrument_id"]], tuple(row["candle"]))
        for row in rows
    }


def _made(row: asyncpg.Record, of: Members) -> dict[str, Any]:
    return {
        "place": of.ids.index(row["instrument_id"]),
        "as_of_ms": to_ms(row["as_of"]),
        "known_ms": to_ms(row["known_at"]),
        "candle": tuple(row["candle"]),
    }
