"""When the candles of a batch were known."""

from __future__ import annotations

from datetime import timedelta

from tests.factories import BTC, candle_batches

MS = timedelta(milliseconds=1)


def test_a_closed_candle_is_never_known_before_it_closed() -> None:
    (batch,) = candle_batches([BTC], 1)

    behind, exact, ahead = (batch.came_at(batch.as_of + lag * MS) for lag in (-3, 0, 3))

    assert (behind.known_at, exact.known_at) == (batch.as_of, batch.as_of)
    assert ahead.known_at == batch.as_of + 3 * MS
    assert behind.told is batch.told
