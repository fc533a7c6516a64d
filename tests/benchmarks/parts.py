"""The rooms one by one: features, training, replay."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from backend.clock import VirtualClock
from backend.executor import ProcessExecutor
from backend.replay import Replay, ReplayPlan
from backend.settings import Settings
from backend.store import database
from backend.store.columns import CandleSeries
from backend.training_settings import TrainingSettings
from backend.wiring import open_store
from domain.events import Examples
from domain.market import EPOCH, Instrument, from_ms, to_ms
from domain.sources import Measurement, Metric, SourceState, SourceStatus, source_of
from services.features.feature_set import OHLCV
from services.models.fitting import fit
from services.models.recipes import Recipe
from services.sentiment.feature_set import SENTIMENT
from services.sentiment.features import SentimentFeatures
from services.sentiment.items import ScoredItems
from tests.benchmarks.floor import microseconds
from tests.benchmarks.market import (
    H1,
    HORIZON,
    bare_panel,
    candles,
    default_recipes,
    instruments,
    scene,
    task_of,
)
from tests.benchmarks.measure import QUICK, Row, Size, p50

REPLAYED = 12  # instruments
HISTORY_BARS = 400
TEXTS = 1_000  # within 48 hours
WIDE = (254_300, 189)  # FreqAI's training set


def features(size: Size) -> list[Row]:
    """One step of 500 instruments live, and a walk through their history."""
    warm = scene(500, size.ticks, [])
    steps = iter(warm.ticks)
    live = microseconds(lambda: warm.panel.engine.on_candles(next(steps)), size.ticks)
    table, start_ms = candles(500, HISTORY_BARS)
    names = instruments(500)
    as_of_ms = start_ms + H1.ms * np.arange(1, HISTORY_BARS + 1)

    def walk() -> None:
        engine = bare_panel(H1, VirtualClock(from_ms(0))).engine
        engine.walk(instruments=names, as_of_ms=as_of_ms, candles=table)

    walked = microseconds(walk, 3)
    detail = {"columns": len(OHLCV.columns), "instruments": 500}
    return [
        Row(
            name="features, live, per instrument-candle",
            value=p50(live) / 500,
            unit="µs",
            target=2.0,
            detail=detail,
        ),
        Row(
            name="features, history, per instrument-candle",
            value=min(walked) / (500 * HISTORY_BARS),
            unit="µs",
            target=2.0,
            detail=detail | {"bars": HISTORY_BARS},
        ),
    ]


def sentiment(size: Size) -> list[Row]:
    """What sources told of 500 instruments at a close: computed in the tick, and prepared."""
    warm = scene(500, 1, [])
    batch = warm.panel.engine.on_candles(warm.ticks[0])
    told = said_of(batch.instruments, batch.as_of)
    closes = iter(range(1, 10_000))

    def tick() -> None:
        told.beside(replace(batch, as_of=batch.as_of + next(closes) * H1.duration))

    computed = microseconds(tick, size.ticks)
    prepared = []
    for _ in range(size.ticks):
        told.prepare()
        prepared += microseconds(tick, 1)
    detail = {"columns": len(SENTIMENT.columns), "instruments": 500, "texts": TEXTS}
    rows = {"computed in the tick": computed, "prepared": prepared}
    return [
        Row(
            name=f"what sources told, {name}, per instrument",
            value=p50(took) / 500,
            unit="µs",
            detail=detail,
        )
        for name, took in rows.items()
    ]


def said_of(instruments: Sequence[Instrument], as_of: datetime) -> SentimentFeatures:
    """A busy two days: texts of six feeds, three metrics of every instrument by the hour."""
    hour, last = H1.ms, to_ms(as_of)
    told = SentimentFeatures(since=EPOCH)
    metrics = (Metric.FUNDING_RATE, Metric.OPEN_INTEREST, Metric.LONG_SHORT_RATIO)
    feeds = [f"feed{number}" for number in range(6)]
    measuring = [source_of(metric, instruments[0].exchange) for metric in metrics]
    names = (*feeds, *measuring)
    fine = [SourceStatus(source=name, state=SourceState.OK, since=EPOCH) for name in names]
    told.on_statuses(fine, from_ms(last - 96 * hour))
    rng = np.random.default_rng(0)
    known_ms = last - rng.integers(0, 48 * hour, TEXTS)
    told.on_scored(
        ScoredItems(
            source=rng.choice(feeds, TEXTS),
            item_id=np.arange(TEXTS).astype(str),
            asset=rng.choice([one.base for one in instruments], TEXTS),
            relevance=np.ones(TEXTS),
            cluster=np.arange(TEXTS).astype(str),
            language=np.full(TEXTS, "en"),
            published_ms=known_ms,
            known_ms=known_ms,
            engagement=np.full(TEXTS, np.nan),
            scorer=np.full(TEXTS, "blend@1"),
            polarity=rng.uniform(-1, 1, TEXTS),
            confidence=np.ones(TEXTS),
        )
    )
    for moment in range(last - 48 * hour, last + 1, hour):
        told.on_measurements(
            Measurement(instrument=one, metric=metric, event_ms=moment, known_ms=moment, value=1.0)
            for one in instruments
            for metric in metrics
        )
    return told


async def retrain(rows: Examples, size: Size) -> list[Row]:
    """The scheduled refit of all default kinds, as the live system runs it; one wide fit."""
    recipes = default_recipes()
    seconds = await _fitted(rows, recipes, workers=1)
    detail = {
        "rows": len(rows),
        "columns": len(OHLCV.model_columns),
        "kinds": len(recipes),
        "fits a kind": 2,
    }
    found = [
        Row(
            name=f"full refit, {len(rows):,} rows pooled, one worker",
            value=seconds,
            unit="s",
            target=20.0,
            detail=detail,
        )
    ]
    if size is QUICK:
        return found
    seconds = await _fitted(rows, recipes, workers=2)
    name = f"full refit, {len(rows):,} rows pooled, two workers"
    return [*found, Row(name=name, value=seconds, unit="s", detail=detail)]


async def _fitted(rows: Examples, recipes: list[Recipe], *, workers: int) -> float:
    executor = ProcessExecutor(workers=workers, nice=0)
    try:
        warm = [executor.submit(time.sleep, 0.1) for _ in range(workers)]
        await asyncio.gather(*map(asyncio.wrap_future, warm))
        began = time.perf_counter()
        fits = [executor.submit(fit, task_of(recipe, rows)) for recipe in recipes]
        await asyncio.gather(*map(asyncio.wrap_future, fits))
        return time.perf_counter() - began
    finally:
        executor.close()


async def one_wide_fit() -> list[Row]:
    """LightGBM on as many rows and columns as FreqAI trains on, of noise; one thread."""
    took = await asyncio.to_thread(_wide_fit)
    return [
        Row(
            name=f"one LightGBM of 100 rounds on {WIDE[0]:,} × {WIDE[1]} rows",
            value=took,
            unit="s",
        )
    ]


def _wide_fit() -> float:
    import lightgbm  # noqa: PLC0415 - seconds, and only here

    rng = np.random.default_rng(7)
    inputs = rng.normal(size=WIDE).astype(np.float32)
    answers = rng.normal(size=WIDE[0])
    parameters = {"num_threads": 1, "verbosity": -1, "objective": "regression"}
    began = time.perf_counter()
    lightgbm.train(parameters, lightgbm.Dataset(inputs, answers), num_boost_round=100)
    return time.perf_counter() - began


async def replay(server: str, folder: Path, size: Size) -> list[Row]:
    """The whole replay, training and report included, of a synthetic market."""
    table, start_ms = candles(REPLAYED, size.replay_bars)
    open_ms = start_ms + H1.ms * np.arange(size.replay_bars)
    series = [
        CandleSeries(
            instrument=instrument,
            open_ms=open_ms,
            **{
                name: np.ascontiguousarray(table[:, column, field])
                for field, name in enumerate(("open", "high", "low", "close", "volume"))
            },
            revision=np.ones(size.replay_bars, dtype=np.int64),
        )
        for column, instrument in enumerate(instruments(REPLAYED))
    ]
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
    in_force = Settings(training=TrainingSettings(every_bars=250, minimum_rows=1_000))
    name = f"bench_replay_{os.getpid()}"
    url = await database.create_database(server, name)
    async with open_store(url, folder / "replay", durable=False) as store:
        report = await Replay(plan, in_force, store, H1).run(series)
    await database.drop_database(server, name)
    cost = report["cost"]
    return [
        Row(
            name=f"replay of {REPLAYED} instruments × {size.replay_bars} bars",
            value=cost["candles_per_second"],
            unit="candles/s",
            detail=dict(cost),
        )
    ]
