"""The table of columns tells the truth: units, warm-up, what models read."""

from __future__ import annotations

import numpy as np

from domain.market import Instrument, Timeframe
from services.features import grid
from services.features.engine import FeatureEngine
from services.features.feature_set import COLUMNS, OHLCV, ROW, Unit
from tests.factories import random_walk

HOUR = Timeframe.H1.ms


def test_columns_are_many_and_named_once() -> None:
    assert len(set(OHLCV.columns)) == len(OHLCV.columns) >= 40
    assert ROW.names == OHLCV.columns
    assert ROW.itemsize == 8 * len(OHLCV.columns)


def test_models_read_no_prices_and_no_volumes() -> None:
    units = {column.name: column.unit for column in COLUMNS}

    assert {units[name] for name in OHLCV.model_columns} == {Unit.NONE}
    assert {"close", "volume", "vwap", "obv", "macd_line"}.isdisjoint(OHLCV.model_columns)


def test_every_column_is_known_exactly_from_the_candle_that_the_table_names() -> None:
    prices = random_walk(OHLCV.warmup_bars, 2, seed=1)
    values, _ = FeatureEngine(OHLCV, "binance", Timeframe.H1).walk(
        instruments=[Instrument("binance", "A/USDT"), Instrument("binance", "B/USDT")],
        as_of_ms=HOUR * (500_000 + np.arange(OHLCV.warmup_bars)),
        candles=np.stack(list(prices.values()), axis=-1),
    )

    unknown = np.isnan(values).sum(axis=0)

    for i, column in enumerate(COLUMNS):
        assert unknown[:, i].tolist() == [column.known_after - 1] * 2, column.name
        assert np.isnan(values[: column.known_after - 1, :, i]).all(), column.name


def test_warm_up_covers_every_column_and_is_what_coverage_counts() -> None:
    assert max(column.known_after for column in COLUMNS) <= OHLCV.warmup_bars <= 200
    assert OHLCV.warmup_bars == grid.COVERAGE_BARS
