"""The rows that a fit would read of the planted market, made without a store.

`python -m tests.planted_rows SEED MODEL …` fits models on them and prints their skill on the rest.
"""

from __future__ import annotations

import sys
import timeit
from dataclasses import replace
from functools import lru_cache

import numpy as np

from alphapulse_testing.panel import past_of
from backend.plugins import SwitchedOn, catalogue_of
from domain.events import CandleBatch, Examples
from domain.market import Horizon, from_ms
from services.features.engine import FeatureEngine
from services.features.feature_set import OHLCV
from services.labels.labeller import Labeller
from services.models.artifacts import open_model
from services.models.catalogue import BUILT_IN
from services.models.examples import ExampleJoiner, concatenate
from services.models.fitting import FitTask, Judged, fit
from services.models.forecaster import Forecaster, Table
from services.models.recipes import Recipe
from services.models.walk_forward import SplitKind
from services.scores.skill import ScoredRows, SkillEstimate, pooled_skill
from tests.scenarios.market import H1, HORIZON, planted

BARS = 1_500


@lru_cache(maxsize=2)
def planted_rows(bars: int, *, seed: int = 7) -> Examples:
    """Of four instruments and all columns of `ohlcv@1`; labels look `HORIZON` candles ahead."""
    series = planted(bars, seed=seed)
    engine = FeatureEngine(OHLCV, "simulated", H1)
    labeller = Labeller("simulated", H1, HORIZON)
    joiner = ExampleJoiner(OHLCV, exchange="simulated", timeframe=H1, horizon=HORIZON)
    wholes = []
    for bar in range(bars):
        as_of = from_ms(int(series[0].open_ms[bar]) + H1.ms)
        batch = CandleBatch(
            exchange="simulated",
            timeframe=H1,
            as_of=as_of,
            instruments=tuple(one.instrument for one in series),
            open=np.array([one.open[bar] for one in series]),
            high=np.array([one.high[bar] for one in series]),
            low=np.array([one.low[bar] for one in series]),
            close=np.array([one.close[bar] for one in series]),
            volume=np.array([one.volume[bar] for one in series]),
            known_at=as_of,
            revision=np.ones(len(series), dtype=np.int64),
        )
        joiner.on_features(engine.on_candles(batch))
        wholes += [joiner.on_labels(labels)[1] for labels in labeller.on_candles(batch)]
    return concatenate(wholes)


def planted_task(recipe: Recipe, *, bars: int = BARS, seed: int = 7) -> FitTask:
    """A fit on those rows, judged by the last fifth."""
    rows = planted_rows(bars, seed=seed)
    return FitTask(
        recipe=recipe,
        horizon=HORIZON,
        horizon_ms=HORIZON * H1.ms,
        columns=OHLCV.model_columns,
        examples=replace(rows, past=past_of(rows, recipe.past)) if recipe.past else rows,
        split=SplitKind.LEAN,
        seed=seed,
    )


def skill(judged: Judged) -> SkillEstimate:
    """Above the class prior."""
    numbers = {one: number for number, one in enumerate(sorted(set(judged.instruments)))}
    rows = ScoredRows(
        as_of_ms=judged.as_of_ms,
        instrument=np.array([numbers[one] for one in judged.instruments]),
        loss=judged.losses,
        baseline_loss=judged.baseline_losses["class_prior.direction"],
    )
    return pooled_skill(rows, Horizon(H1, HORIZON))


def forecast_ms(model: Forecaster) -> float:
    """The shortest of 30 forecasts of 500 rows."""
    rows = planted_rows(BARS)
    rows = replace(rows, past=past_of(rows, model.past)).take(np.arange(500))
    return 1e3 * min(timeit.repeat(lambda: model.forecast(Table.of(rows)), number=1, repeat=30))


def main(seed: int, names: list[str]) -> None:
    kinds = tuple(name.partition(".")[0] for name in names)
    others = tuple(kind for kind in kinds if kind not in BUILT_IN.kinds)
    catalogue = catalogue_of(SwitchedOn(names=others))
    for name in names:
        result = fit(planted_task(catalogue.recipes[name], seed=seed), catalogue)
        found, model = skill(result.judged), open_model(result.artifact, "1", catalogue)
        sys.stdout.write(
            f"{name} {found.skill:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
            f" {result.n_train} rows {result.train_seconds:.1f} s,"
            f" a forecast of 500 rows {forecast_ms(model):.1f} ms\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
