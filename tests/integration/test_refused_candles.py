"""A candle that cannot be is set aside with its reason, and counted."""

from __future__ import annotations

from math import nan

from backend.metrics import REGISTRY
from backend.store import database
from backend.store.quarantine import refuse_candle
from collectors.checks import reason
from tests.doubles import START
from tests.factories import candle


async def test_a_refused_candle_is_kept_as_it_was_told_and_counted(database_url: str) -> None:
    impossible = candle(close=nan)
    said = reason(impossible)
    assert said is not None
    before = counted(said)

    pool = await database.connect_pool(database_url)
    try:
        await refuse_candle(pool, impossible, reason=said, received_at=START)
        row = await pool.fetchrow("SELECT detail, payload ->> 'close' AS close FROM quarantine")
    finally:
        await pool.close()

    assert (row["detail"], row["close"]) == (said, "nan")
    assert counted(said) == before + 1


def counted(said: str) -> float:
    name = "alphapulse_candles_quarantined_total"
    return REGISTRY.get_sample_value(name, {"reason": said}) or 0.0
