"""Our clock is set back while the exchange goes on: what is recorded is what would have been."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backend.wiring import Store, open_store
from domain.events import Candle
from domain.market import to_ms
from tests.doubles import START
from tests.factories import candles
from tests.panel_life import H1, HISTORY, LIVE, Life

BACK = timedelta(hours=3, minutes=30)
SET_BACK, RESTARTED, MENDED = 3, 5, 9  # hours after the history
SERVED = """
SELECT symbol, as_of FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND role = 'champion'
"""
SIGNALS = """
SELECT symbol, as_of FROM trading_signals JOIN instruments USING (instrument_id)
WHERE exchange = $1
"""


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_set_back_leaves_nothing_out_and_doubles_nothing(
    store: Store,
    restarted: bool,  # noqa: FBT001 - of parametrize
) -> None:
    life = Life(store, "binance")
    await life.begin()
    coming = [hours_of(life, seed) for seed in range(len(life.instruments))]
    for hour in range(LIVE):
        life.clock.advance(H1.duration)
        if hour == SET_BACK:
            life.clock.advance(-BACK)
        if hour == RESTARTED and restarted:
            await life.end()
            await life.start()
        if hour == MENDED:
            life.clock.advance(BACK)
        await life.take([one[hour] for one in coming])

    await life.check(set())
    closes = {START + (HISTORY + 1 + hour) * H1.duration for hour in range(LIVE)}
    for question in (SERVED, SIGNALS):
        found = Counter(as_of for _, as_of in await life.fetch(question) if as_of in closes)
        assert found == dict.fromkeys(closes, len(life.instruments))


def hours_of(life: Life, seed: int) -> list[Candle]:
    """The candles that one instrument is told after its history, by the exchange's clock."""
    name = life.instruments[seed]
    told = candles(HISTORY + LIVE, seed=seed, instrument=name)
    return [replace(one, event_ms=2, confirmed=True) for one in told if one.open_ms >= first_ms()]


def first_ms() -> int:
    return to_ms(START) + HISTORY * H1.ms
