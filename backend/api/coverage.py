"""How complete the candles behind an answer are, as far as it was known at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from backend.api.reads import Span
from backend.api.shelves import CANDLES
from domain.market import Timeframe, to_ms

LONGEST: Final = timedelta(days=1)  # candle


async def read_coverage(
    connection: asyncpg.Connection,
    spans: Sequence[Span],
    times: Sequence[datetime],
    as_of: datetime | None,
) -> dict[str, Any] | None:
    """How many candles there should be, are, and which are missing, from first to last of `times`.

    These are of closes; None where there are none. A series counts from its first row on: what
    came before was never promised. With `as_of` it is what was known then; a gap that was filled
    later is open.
    """
    if not times:
        return None
    series, end = _begins(spans, min(times)), max(times)
    expected = sum(
        _closes(Timeframe(timeframe), begin, end)
        for _, timeframe, begin in zip(*series, strict=True)
    )
    if as_of is None:
        present = await connection.fetchval(_PRESENT, *series, end, LONGEST)
    else:
        present = await connection.fetchval(_PRESENT_THEN, *series, end, LONGEST, as_of)
    gaps = await connection.fetch(_GAPS, *series, end, as_of)
    return {"expected": expected, "present": present, "gaps": [dict(gap) for gap in gaps]}


async def last_gap_change(
    connection: asyncpg.Connection, spans: Sequence[Span], start: datetime, end: datetime
) -> datetime | None:
    """When a gap of these series that reaches into [start, end] was last found or filled."""
    found: datetime | None = await connection.fetchval(_CHANGED, *_begins(spans, start), end)
    return found


def _begins(spans: Sequence[Span], start: datetime) -> tuple[list[int], list[str], list[datetime]]:
    """From when on each series of candles is looked at."""
    first: dict[tuple[int, str], datetime] = {}
    for span in spans:
        key = (span.instrument_id, span.timeframe)
        first[key] = min(span.first, first.get(key, span.first))
    begins = [max(start, moment) for moment in first.values()]
    return [key[0] for key in first], [key[1] for key in first], begins


def _closes(timeframe: Timeframe, start: datetime, end: datetime) -> int:
    return max(0, to_ms(end) // timeframe.ms - -(-to_ms(start) // timeframe.ms) + 1)


def known_gaps(at: str) -> str:
    """SQL of the ledger as it was known at a time, or NULL for now: a table expression.

    A gap that was filled later is open, and reaches as far as candles had closed by then.
    """
    steps = ", ".join(f"('{each.value}', interval '{each.ms} ms')" for each in Timeframe)
    return f"""(
        SELECT i.exchange, i.symbol, g.instrument_id, g.timeframe, g.from_time, g.cause,
               g.detected_at, g.attempts,
               least(g.to_time, date_bin(step, {at}::timestamptz, timestamptz 'epoch')) AS until,
               CASE WHEN g.filled_at > {at} THEN 'open' ELSE g.state END AS state,
               CASE WHEN g.filled_at > {at} THEN NULL ELSE g.filled_at END AS filled_at
        FROM ingest_gaps g JOIN instruments i USING (instrument_id)
        JOIN (VALUES {steps}) AS grid (timeframe, step) USING (timeframe)
        WHERE {at}::timestamptz IS NULL OR g.detected_at <= {at}
    )"""  # noqa: S608 - names are ours


_SERIES: Final = (
    "unnest($1::int[], $2::text[], $3::timestamptz[]) AS s (instrument_id, timeframe, begins)"
)
# Read through the primary keys of `candles` and `ingest_gaps`.
_PRESENT: Final = f"""
    SELECT count(*)
    FROM {_SERIES} JOIN candles t USING (instrument_id, timeframe)
    WHERE t.open_time >= s.begins - $5::interval AND t.open_time < $4
      AND t.close_time >= s.begins AND t.close_time <= $4
    """  # noqa: S608 - names are ours
_PRESENT_THEN: Final = f"{_PRESENT} AND {CANDLES.known_by('$6')}"

_GAPS: Final = f"""
    SELECT g.exchange, g.symbol, g.timeframe, g.from_time AS "from", g.until AS "to",
           g.cause, g.state
    FROM {_SERIES} JOIN {known_gaps("$5")} g USING (instrument_id, timeframe)
    WHERE g.state <> 'filled' AND g.from_time < $4 AND g.until > s.begins AND g.until > g.from_time
    ORDER BY g.from_time, g.exchange, g.symbol, g.timeframe LIMIT 100
    """  # noqa: S608 - names are ours

_CHANGED: Final = f"""
    SELECT max(greatest(g.detected_at, g.filled_at))
    FROM {_SERIES} JOIN ingest_gaps g USING (instrument_id, timeframe)
    WHERE g.from_time < $4 AND g.to_time > s.begins
    """  # noqa: S608 - names are ours
