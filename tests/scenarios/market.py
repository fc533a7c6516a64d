"""Markets for whole-machine runs, and the replay of one into a database of the test's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from backend.learning.fits import fit_from_store
from backend.panel import Panel, PanelKey
from backend.replay import Replay, ReplayPlan
from backend.settings import Settings
from backend.store.columns import CandleSeries
from backend.training_settings import TrainingSettings
from backend.wiring import Store
from collectors.simulated.market import SyntheticMarket
from domain.events import Floats
from domain.market import Instrument, Timeframe, to_ms
from domain.ports import Executor
from tests.doubles import START
from tests.factories import random_walk
from tests.scenarios.mutations import Alter, AlteredEngine, Fit

T = TypeVar("T")
H1 = Timeframe.H1
SYMBOLS = ("BTC/USDT", "DOGE/USDT", "ETH/USDT", "SOL/USDT")
TREES = 50
HORIZON = 4
BOOSTERS = ("catboost.direction", "lightgbm.direction", "xgboost.direction")


def planted(
    bars: int, *, seed: int = 7, signal: float = 1.0, symbols: tuple[str, ...] = SYMBOLS
) -> list[CandleSeries]:
    """The synthetic market, as a rule with its signal."""
    market = SyntheticMarket(symbols, seed=seed, signal=signal)
    return _series(market.candles(0, bars), market.start_ms, symbols)


def noise(bars: int, *, seed: int = 7) -> list[CandleSeries]:
    """Independent random walks: nothing in them can be predicted but their constant spread."""
    walk = random_walk(bars, len(SYMBOLS), seed=seed)
    columns = [walk[name] for name in ("open", "high", "low", "close", "volume")]
    return _series(np.stack(columns, axis=2), to_ms(START), SYMBOLS)


def clustered_noise(bars: int, *, seed: int = 7) -> list[CandleSeries]:
    """Walks that move together and whose volatility clusters; their direction is chance."""
    return planted(bars, seed=seed, signal=0.0)


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


@dataclass(frozen=True, slots=True)
class Lasting:
    """Worker processes that serve one replay after the other, or several at once."""

    workers: Executor
    fit: Fit

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        if work is fit_from_store:
            return self.workers.submit(cast("Callable[..., T]", self.fit), *arguments)
        return self.workers.submit(work, *arguments)

    def close(self) -> None:
        """The workers are their owner's to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is replayed, and what is done to the system while it is."""

    series: Sequence[CandleSeries]
    settings: Settings
    since: datetime | None = None
    seed: int = 7
    alter: Alter | None = None  # the features
    fit: Fit = fit_from_store


class ScenarioReplay(Replay):
    """A replay with lasting workers, and with the scenario's mutation in its place."""

    scenario: Scenario
    workers: Executor

    def open_panel(self, key: PanelKey) -> Panel:
        panel = super().open_panel(key)
        if self.scenario.alter is not None:
            panel.engines = {
                name: AlteredEngine(engine, self.scenario.alter)
                for name, engine in panel.engines.items()
            }
        return panel

    def open_executor(self) -> Executor:
        return Lasting(self.workers, self.scenario.fit)


# What noise and the seeds are judged by.
OF_DIRECTION = settings(kinds=("logistic.direction", *BOOSTERS))
NO_FITS = settings(minimum_rows=10_000_000)


async def replayed(store: Store, scenario: Scenario, workers: Executor) -> dict[str, Any]:
    """Replay into `store`, which keeps the rows; the report."""
    plan = ReplayPlan(
        data=Path(),
        exchange=None,
        symbols=None,
        timeframe=H1.value,
        horizon=HORIZON,
        since=scenario.since,
        until=None,
        seed=scenario.seed,
        report=Path(),
        out=None,
    )
    replay = ScenarioReplay(plan, scenario.settings, store, H1)
    replay.scenario, replay.workers = scenario, workers
    return await replay.run(list(scenario.series))


def _series(candles: Floats, start_ms: int, symbols: Sequence[str]) -> list[CandleSeries]:
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
        for column, symbol in enumerate(symbols)
    ]


def _take(one: CandleSeries, bars: int) -> CandleSeries:
    names = ("open_ms", "open", "high", "low", "close", "volume", "revision")
    return CandleSeries(
        instrument=one.instrument, **{name: getattr(one, name)[:bars] for name in names}
    )
