"""Synthetic instruments, the panels that watch them, and models fitted to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from backend.clock import VirtualClock
from backend.panel import Panel, PanelKey
from backend.training_settings import TrainingSettings
from collectors.simulated.market import SyntheticMarket
from domain.events import Candle, CandleBatch, Examples, FeatureBatch, Floats, Role, Skill
from domain.market import Instrument, Timeframe, from_ms
from domain.ports import Model
from services.features.feature_set import OHLCV
from services.models.artifacts import open_model
from services.models.catalogue import BUILT_IN
from services.models.examples import concatenate
from services.models.fitting import FitTask, fit
from services.models.recipes import Recipe
from services.models.walk_forward import SplitKind
from services.predictions.predictor import TARGETS
from services.signals.policy import PolicySettings

H1 = Timeframe.H1
HORIZON = 4
EXCHANGE = "simulated"
PLAYED = 40  # ticks of the warm-up that go through all rooms


def instruments(count: int) -> tuple[Instrument, ...]:
    return tuple(Instrument(EXCHANGE, f"C{number:04}/USDT") for number in range(count))


@lru_cache(maxsize=2)
def candles(count: int, bars: int, timeframe: Timeframe = H1) -> tuple[Floats, int]:
    """(bars, count, 5) of the synthetic market, and when its first candle opens."""
    symbols = tuple(one.symbol for one in instruments(count))
    market = SyntheticMarket(symbols, seed=7, timeframe=timeframe)
    return market.candles(0, bars), market.start_ms


def batches(count: int, bars: int, timeframe: Timeframe = H1) -> Iterator[CandleBatch]:
    table, start_ms = candles(count, bars, timeframe)
    names = instruments(count)
    for bar in range(bars):
        opened, high, low, close, volume = np.ascontiguousarray(table[bar].T)
        as_of = from_ms(start_ms + (bar + 1) * timeframe.ms)
        yield CandleBatch(
            exchange=EXCHANGE,
            timeframe=timeframe,
            as_of=as_of,
            instruments=names,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            known_at=as_of,
            revision=np.ones(count, dtype=np.int64),
        )


def messages(batch: CandleBatch) -> list[Candle]:
    """The candles of a tick as a collector has parsed them, one by one."""
    open_ms = int(batch.as_of.timestamp() * 1_000) - batch.timeframe.ms
    columns = (batch.open, batch.high, batch.low, batch.close, batch.volume)
    return [
        Candle(
            instrument=instrument,
            timeframe=batch.timeframe,
            open_ms=open_ms,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
        )
        for instrument, opened, high, low, close, volume in zip(
            batch.instruments, *(column.tolist() for column in columns), strict=True
        )
    ]


def examples(count: int, bars: int) -> Examples:
    """Feature rows and what came true, of a pooled panel."""
    panel = bare_panel(H1, VirtualClock(from_ms(0)))
    rooms = panel.rooms[HORIZON]
    parts: list[Examples] = []
    for batch in batches(count, bars + OHLCV.warmup_bars):
        rooms.joiner.on_features(panel.sentiment.beside(panel.engine.on_candles(batch)))
        parts += [rooms.joiner.on_labels(one)[1] for one in rooms.labeller.on_candles(batch)]
    whole = concatenate([part for part in parts if len(part)])
    return whole.take(np.arange(max(len(whole) - count * bars, 0), len(whole)))


def default_recipes() -> list[Recipe]:
    """What is fitted where nobody chose otherwise."""
    recipes = BUILT_IN.recipes.items()
    return [recipe for name, recipe in recipes if name in TrainingSettings().kinds]


def task_of(recipe: Recipe, rows: Examples, split: SplitKind = SplitKind.REFRESH) -> FitTask:
    return FitTask(
        recipe=recipe,
        horizon=HORIZON,
        horizon_ms=HORIZON * H1.ms,
        columns=OHLCV.model_columns,
        examples=rows,
        split=split,
        seed=7,
    )


def fitted(rows: Examples) -> dict[str, Model]:
    """The default kinds, fitted for real."""
    results = [fit(task_of(recipe, rows, SplitKind.LEAN)) for recipe in default_recipes()]
    return {result.name: open_model(result.artifact, "1") for result in results}


def bare_panel(timeframe: Timeframe, clock: VirtualClock) -> Panel:
    key = PanelKey(exchange=EXCHANGE, timeframe=timeframe)
    return Panel(key, [HORIZON], clock=clock, policy=PolicySettings())


@dataclass(slots=True, kw_only=True)
class Scene:
    """A warm panel, its clock, and the ticks that it has not seen yet."""

    panel: Panel
    clock: VirtualClock
    ticks: list[CandleBatch]


def scene(count: int, ticks: int, models: Sequence[Model], timeframe: Timeframe = H1) -> Scene:
    """`count` instruments past their warm-up, with `models` as members whose pool serves."""
    clock = VirtualClock(from_ms(0))
    panel = bare_panel(timeframe, clock)
    rooms = panel.rooms[HORIZON]
    played = list(batches(count, OHLCV.warmup_bars + PLAYED + ticks, timeframe))
    _walk(panel, played[: OHLCV.warmup_bars])
    for model in models:
        rooms.predictor.seat(model, Role.MEMBER)
    for batch in played[OHLCV.warmup_bars : -ticks]:
        clock.set(batch.as_of)
        hot, _ = panel.hot.run(batch)
        panel.cold.run(batch, *hot)
    _open_gates(panel, played[-ticks - 1])
    return Scene(panel=panel, clock=clock, ticks=played[-ticks:])


def _walk(panel: Panel, history: Sequence[CandleBatch]) -> None:
    names = ("open", "high", "low", "close", "volume")
    panel.engine.walk(
        instruments=history[0].instruments,
        as_of_ms=np.array([int(batch.as_of.timestamp() * 1_000) for batch in history]),
        candles=np.stack(
            [np.stack([getattr(batch, name) for name in names], axis=-1) for batch in history]
        ),
    )


def _open_gates(panel: Panel, batch: CandleBatch) -> None:
    """Let the pool serve, so that the work of opened signals is in the numbers."""
    for target in TARGETS:
        panel.rooms[HORIZON].predictor.on_skill(
            Skill(
                exchange=EXCHANGE,
                timeframe=batch.timeframe,
                horizon=HORIZON,
                target=target,
                at=batch.as_of,
                baseline="",
                skill=0.05,
                low=0.01,
                high=0.09,
                blocks=30,
                count=1_000,
                no_skill=False,
            )
        )


def features_of(found: Scene) -> FeatureBatch:
    """One tick's features, for those who need nothing else."""
    return found.panel.engine.on_candles(found.ticks[0])
