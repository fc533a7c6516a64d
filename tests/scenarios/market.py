"""Markets for whole-machine runs, and the replay of one into a database of the test's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from backend.replay import Replay, ReplayPlan
from backend.settings import Settings, TrainingSettings
from backend.store.columns import CandleSeries
from backend.wiring import open_store
from collectors.simulated.market import SyntheticMarket
from domain.events import Floats
from domain.market import Instrument, Timeframe, to_ms
from tests.doubles import START
from tests.factories import random_walk

H1 = Timeframe.H1
SYMBOLS = ("BTC/USDT", "DOGE/USDT", "ETH/USDT", "SOL/USDT")
TREES = 50
HORIZON = 4


def planted(bars: int, *, seed: int = 7) -> list[CandleSeries]:
    """The synthetic market with its signal."""
    market = SyntheticMarket(SYMBOLS, seed=seed)
    return _series(market.candles(0, bars), market.start_ms)


def noise(bars: int, *, seed: int = 7) -> list[CandleSeries]:
    """Independent random walks: nothing in them can be predicted but their constant spread."""
    walk = random_walk(bars, len(SYMBOLS), seed=seed)
    columns = [walk[name] for name in ("open", "high", "low", "close", "volume")]
    return _series(np.stack(columns, axis=2), to_ms(START))


def head(series: Sequence[CandleSeries], bars: int) -> list[CandleSeries]:
    """The first `bars` candles."""
    return [_take(one, bars) for one in series]


def shocked(series: Sequence[CandleSeries], bars: int) -> list[CandleSeries]:
    """All prices after the first `bars` candles multiplied by 10."""
    after = np.arange(len(series[0])) >= bars
    factor = np.where(after, 10.0, 1.0)
    return [
        replace(
            one,
            open=one.open * factor,
            high=one.high * factor,
            low=one.low * factor,
            close=one.close * factor,
        )
        for one in series
    ]


def settings(**training: Any) -> Settings:
    """Small fits, often."""
    plan = {"trees": TREES, "every_bars": 250, "minimum_rows": 1_000, **training}
    return Settings(training=TrainingSettings(**plan))


async def replayed(
    url: str, folder: Path, series: Sequence[CandleSeries], in_force: Settings
) -> dict[str, Any]:
    """Replay `series` into the database at `url`, which keeps the rows; the report."""
    plan = ReplayPlan(
        data=folder,
        exchange=None,
        symbols=None,
        timeframe=H1.value,
        horizon=HORIZON,
        since=None,
        until=None,
        seed=7,
        report=folder / "report.json",
        out=None,
    )
    async with open_store(url, folder / "artifacts", durable=False) as store:
        return await Replay(plan, in_force, store, H1).run(list(series))


async def rows(url: str, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()


def _series(candles: Floats, start_ms: int) -> list[CandleSeries]:
    open_ms = start_ms + np.arange(len(candles)) * H1.ms
    return [
        CandleSeries(
            instrument=Instrument("simulated", symbol),
            open_ms=open_ms,
            open=candles[:, column, 0],
            high=candles[:, column, 1],
            low=candles[:, column, 2],
            close=candles[:, column, 3],
            volume=candles[:, column, 4],
            revision=np.ones(len(candles), dtype=np.int64),
        )
        for column, symbol in enumerate(SYMBOLS)
    ]


def _take(one: CandleSeries, bars: int) -> CandleSeries:
    names = ("open_ms", "open", "high", "low", "close", "volume", "revision")
    return CandleSeries(
        instrument=one.instrument, **{name: getattr(one, name)[:bars] for name in names}
    )
