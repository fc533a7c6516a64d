"""Instruments that are added one after another have all rows of their history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.features import audit_rows
from backend.wiring import Store, open_store
from domain.market import EPOCH, Instrument
from tests.factories import BTC, ETH, SOL, candle_batches
from tests.joining_life import Joining

XRP = Instrument(BTC.exchange, "XRP/USDT")
ROWS = """
SELECT symbol, count(*), max(revision) FROM {table} JOIN instruments USING (instrument_id)
GROUP BY symbol ORDER BY symbol
"""


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_url, tmp_path) as store:
        yield store


async def test_one_that_joins_after_another_has_rows_of_the_closes_before_that(
    store: Store,
) -> None:
    life = Joining(store)
    await life.begin()
    for batch in candle_batches([BTC, ETH], 2, seed=5):
        await life.tick(batch)
    await life.join(SOL, XRP)
    for batch in candle_batches([BTC, ETH, SOL, XRP], 4, seed=5)[2:]:
        await life.tick(batch)

    async with store.readers.acquire() as connection:
        audit = await audit_rows(connection, count=100, seed=7, since=EPOCH)
    assert list(map(str, audit.waiting)) == []
    assert (audit.rows, audit.told, audit.left_out) == (4 * 4, 4 * 4, 0)
    assert (audit.differences, audit.told_differences) == ((), ())
    for table in ("ml_features_ohlcv", "ml_features_sentiment"):
        rows = await store.readers.fetch(ROWS.format(table=table))
        names = [one.symbol for one in (BTC, ETH, SOL, XRP)]
        assert [tuple(row) for row in rows] == [(name, 4, 1) for name in names]
