"""A sample of closes, with what sources told by then as it is stored."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from math import prod
from typing import Final

import asyncpg
import numpy as np
import orjson

from backend.store.instruments import NOT_YET
from domain.events import Floats, Ints, SentimentBatch
from domain.market import Instrument, Timeframe
from services.sentiment.feature_set import SENTIMENT

WIDTH: Final = len(SENTIMENT.columns)

# The newest revision of each row.
_SAMPLE: Final = """
WITH chosen AS (
    SELECT exchange, timeframe, as_of FROM ml_features_sentiment
    JOIN instruments USING (instrument_id)
    WHERE feature_set = $1 AND as_of >= $3 GROUP BY exchange, timeframe, as_of
    ORDER BY hashtextextended(
        concat_ws(' ', exchange, timeframe, extract(epoch FROM as_of)::bigint), $2
    ) LIMIT $4
)
SELECT DISTINCT ON (exchange, timeframe, as_of, symbol) exchange, timeframe, as_of, symbol,
    revision, known_at, source_status, array_replace("values", NULL, 'NaN') AS row,
    joined_at, joined_at IS NULL OR as_of > joined_at AS member
FROM chosen JOIN instruments USING (exchange)
JOIN ml_features_sentiment AS stored USING (instrument_id, timeframe, as_of)
WHERE feature_set = $1
ORDER BY exchange, timeframe, as_of, symbol, revision DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldClose:
    """The newest rows of a close under one state of sources.

    A score is drawn to the market's by how far assets lie apart, so it depends on the rows that
    were made with it: those of a tick together, one that came after its tick by itself.

    Args:
        rows: as they are stored; of one in `cut` the values that are not there are NaN.
        cut: position of a row that was edited to another width → how many values it has.
        made: the ways in which they may have been made: each the positions (n,) of those that
            were made together. First as the candles give them now, then as they were written.
    """

    rows: SentimentBatch
    cut: Mapping[int, int]
    made: tuple[tuple[Ints, ...], ...]


async def sample(
    connection: asyncpg.Connection, *, closes: int, seed: int, since: datetime
) -> list[ToldClose]:
    """The rows of at most so many closes from `since` on, by close and states of sources."""
    found = await connection.fetch(_SAMPLE, SENTIMENT.id, seed, since, closes)
    return list(_closes(found))


def _closes(found: list[asyncpg.Record]) -> Iterator[ToldClose]:
    def close(row: asyncpg.Record) -> tuple[str, str, datetime, str]:
        return row["exchange"], row["timeframe"], row["as_of"], row["source_status"]

    for (exchange, timeframe, as_of, status), group in groupby(sorted(found, key=close), key=close):
        rows = list(group)
        stored = SentimentBatch(
            exchange=exchange,
            timeframe=Timeframe(timeframe),
            as_of=as_of,
            instruments=tuple(Instrument(exchange, row["symbol"]) for row in rows),
            feature_set=SENTIMENT,
            values=np.array([_whole(row["row"]) for row in rows]),
            revision=np.array([row["revision"] for row in rows], dtype=np.int64),
            known_at=max(row["known_at"] for row in rows),
            status=_status(status),
        )
        sizes = [np.array(row["row"]).shape for row in rows]
        cut = {place: prod(one) for place, one in enumerate(sizes) if one != (WIDTH,)}
        by_candles = _together(rows, _company)
        by_writing = _together(rows, lambda row: row["known_at"])
        yield ToldClose(rows=stored, cut=cut, made=(by_candles, by_writing))


def _whole(row: list[object]) -> Floats:
    """The values of a stored row, (WIDTH,), however many there are."""
    values = np.full(WIDTH, np.nan)
    found = np.array(row, dtype=np.float64).ravel()[:WIDTH]
    values[: len(found)] = found
    return values


def _status(text: str) -> dict[str, str]:
    """Source → how it was doing; what was edited and is no such object is that of no source."""
    status = orjson.loads(text)
    return status if isinstance(status, dict) else {"": text}


def _company(row: asyncpg.Record) -> Hashable:
    """What a row of a close has alike with those that are made with it: see `backend/ticks.py`."""
    alone = row["joined_at"] == NOT_YET
    company: Hashable = row["member"] or row["symbol" if alone else "joined_at"]
    return company


def _together(
    rows: list[asyncpg.Record], by: Callable[[asyncpg.Record], Hashable]
) -> tuple[Ints, ...]:
    """The positions of the rows that are alike in something."""
    found: dict[Hashable, list[int]] = {}
    for position, row in enumerate(rows):
        found.setdefault(by(row), []).append(position)
    return tuple(np.array(positions, dtype=np.int64) for positions in found.values())
