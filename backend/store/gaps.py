"""The gap ledger: which candles ought to exist and do not, and what became of each hole."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg

from backend.store.instruments import Instruments
from domain.market import Instrument, Timeframe

_NOTE: Final = """
INSERT INTO ingest_gaps AS gap
    (instrument_id, timeframe, from_time, to_time, cause, state, detected_at, filled_at, attempts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)
ON CONFLICT (instrument_id, timeframe, from_time) DO UPDATE SET
    to_time = greatest(gap.to_time, EXCLUDED.to_time), state = EXCLUDED.state,
    filled_at = EXCLUDED.filled_at, attempts = gap.attempts + 1
"""

# The index: candles_pkey.
_SETTLE: Final = """
UPDATE ingest_gaps AS gap SET state = 'filled', filled_at = $3
WHERE timeframe = $1 AND state IN ('open', 'repairing') AND (
    SELECT count(*) * $2::interval FROM candles
    WHERE candles.instrument_id = gap.instrument_id AND candles.timeframe = gap.timeframe
        AND open_time >= from_time AND open_time < to_time
) >= to_time - from_time
"""


class GapLedger:
    """Writes `ingest_gaps`."""

    def __init__(self, pool: asyncpg.Pool, instruments: Instruments) -> None:
        self._pool = pool
        self._instruments = instruments

    async def note(
        self,
        instrument: Instrument,
        timeframe: Timeframe,
        *,
        span: tuple[datetime, datetime],
        cause: str,
        state: str,
        at: datetime,
    ) -> None:
        """Enter a hole, or what became of it.

        Args:
            instrument: whose candles.
            timeframe: of the candles.
            span: open times from the first missing candle up to the first that is there.
            cause: how it came to be.
            state: open, repairing, filled or unfillable.
            at: when this was noticed.
        """
        (number,) = await self._instruments.ids([instrument])
        filled_at = at if state == "filled" else None
        row = (int(number), timeframe.value, *span, cause, state, at, filled_at)
        await self._pool.execute(_NOTE, *row)

    async def settle(self, timeframe: Timeframe, *, at: datetime) -> None:
        """Close the holes whose candles have come by another way, such as a backfill."""
        await self._pool.execute(_SETTLE, timeframe.value, timeframe.duration, at)
