"""How complete the candles behind an answer are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from backend.api.reads import Span
from domain.market import Timeframe, to_ms

LONGEST: Final = timedelta(days=1)  # candle


async def read_coverage(
    connection: asyncpg.Connection, spans: Sequence[Span], start: datetime, end: datetime
) -> dict[str, Any]:
    """How many candles that closed in [start, end] there should be, are, and which are missing.

    A series counts from its first row on: what came before was never promised.
    """
    first: dict[tuple[int, str], datetime] = {}
    for span in spans:
        key = (span.instrument_id, span.timeframe)
        first[key] = min(span.first, first.get(key, span.first))
    begins = [max(start, moment) for moment in first.values()]
    series = ([key[0] for key in first], [key[1] for key in first], begins)
    expected = sum(
        _closes(Timeframe(timeframe), begin, end)
        for (_, timeframe), begin in zip(first, begins, strict=True)
    )
    present = await connection.fetchval(_PRESENT, *series, end, LONGEST)
    gaps = await connection.fetch(_GAPS, *series, end)
    return {"expected": expected, "present": present, "gaps": [dict(gap) for gap in gaps]}


def _closes(timeframe: Timeframe, start: datetime, end: datetime) -> int:
    return max(0, to_ms(end) // timeframe.ms - -(-to_ms(start) // timeframe.ms) + 1)


# Read through the primary keys of `candles` and `ingest_gaps`.
_PRESENT: Final = """
    SELECT count(*)
    FROM unnest($1::int[], $2::text[], $3::timestamptz[]) AS s (instrument_id, timeframe, begins)
    JOIN candles t USING (instrument_id, timeframe)
    WHERE t.open_time >= s.begins - $5::interval AND t.open_time < $4
      AND t.close_time >= s.begins AND t.close_time <= $4
    """

_GAPS: Final = """
    SELECT i.exchange, i.symbol, g.timeframe, g.from_time AS "from", g.to_time AS "to",
           g.cause, g.state
    FROM unnest($1::int[], $2::text[], $3::timestamptz[]) AS s (instrument_id, timeframe, begins)
    JOIN ingest_gaps g USING (instrument_id, timeframe)
    JOIN instruments i USING (instrument_id)
    WHERE g.state <> 'filled' AND g.from_time < $4 AND g.to_time > s.begins
    ORDER BY g.from_time, i.exchange, i.symbol, g.timeframe LIMIT 100
    """
