"""A small panel of feature rows and labels in which there is something to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from domain.events import Examples, FeatureBatch, FeatureSet, Floats, Ints
from domain.market import Instrument, Timeframe, from_ms, to_ms
from domain.past import Past

VARIANCES = ("gk_variance_1", "gk_variance_4", "gk_variance_24", "gk_variance_168")
MODEL_COLUMNS = ("ewma_variance", *VARIANCES, "log_return_1", "tilt", "noise", "hour", "tilt_rank")
PANEL = FeatureSet(
    name="panel",
    version=1,
    columns=("close", *MODEL_COLUMNS),
    model_columns=MODEL_COLUMNS,
    warmup_bars=0,
)
INSTRUMENTS = tuple(Instrument("simulated", f"{base}/USDT") for base in ("BTC", "ETH", "SOL"))
HORIZON = 4
START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR_MS = Timeframe.H1.ms


def panel_features(rows: int, *, seed: int = 0) -> Floats:
    """Rows of `PANEL.columns`; volatility moves slowly, `tilt` is standard normal.

    `tilt_rank` stands for a rank within a cross-section: the share of a logistic below `tilt`.
    """
    rng = np.random.default_rng(seed)
    level = np.exp(np.cumsum(rng.normal(0, 0.1, rows)).clip(-1.5, 1.5)) * 1e-4
    variances = level[:, None] * np.exp(rng.normal(0, [0.8, 0.4, 0.2, 0.1], (rows, 4)))
    ewma = level * np.exp(rng.normal(0, 0.2, rows))
    close = 100 * np.exp(rng.normal(0, 0.1, rows))
    log_return = rng.normal(0, np.sqrt(level))
    others = np.column_stack((rng.normal(size=(rows, 2)), np.arange(rows) % 24))
    rank = 1 / (1 + np.exp(-1.7 * others[:, :1]))
    return np.column_stack((close, ewma, variances, log_return, others, rank))


def panel_examples(ticks: int, *, seed: int = 0) -> Examples:
    """`ticks` × 3 examples, an hour apart, whose direction follows `tilt`.

    Realised variance is the mean of the Garman-Klass variances × horizon × log-normal noise.
    """
    count = len(INSTRUMENTS)
    rows = ticks * count
    rng = np.random.default_rng([seed, 1])
    features = panel_features(rows, seed=seed)
    variance = features[:, 2:6].mean(axis=1) * HORIZON * np.exp(rng.normal(0, 0.3, rows))
    tilt = features[:, PANEL.columns.index("tilt")]
    push = 0.8 * tilt + rng.normal(size=rows)
    as_of_ms = to_ms(START) + HOUR_MS * np.repeat(np.arange(1, ticks + 1), count)
    known_ms = as_of_ms + HORIZON * HOUR_MS
    return Examples(
        columns=PANEL.columns,
        features=features,
        instruments=INSTRUMENTS * ticks,
        as_of_ms=as_of_ms,
        direction_known_ms=known_ms - HOUR_MS * rng.integers(0, HORIZON, rows),
        known_ms=known_ms,
        outcome=np.where(push > 0.8, 1.0, np.where(push < -0.8, -1.0, 0.0)),
        weight=np.ones(rows),
        log_return=np.sqrt(variance) * push,
        realized_volatility=np.sqrt(variance),
        uniqueness=np.full(rows, 1 / HORIZON),
    )


def past_of(examples: Examples, candles: int) -> Past:
    """Those of the examples that are so many candles before each or fewer."""
    numbers = {one: number for number, one in enumerate(sorted(set(examples.instruments)))}
    owners: Ints = np.array([numbers[one] for one in examples.instruments], dtype=np.int64)
    return Past.behind(
        owners,
        examples.as_of_ms,
        columns=examples.columns,
        rows=examples.features,
        of=owners,
        closes_ms=examples.as_of_ms,
        candles=candles,
        candle_ms=HOUR_MS,
    )


def panel_batch(
    values: Floats, *, hour: int = 0, instruments: Sequence[Instrument] | None = None
) -> FeatureBatch:
    """The rows `values` of `PANEL.columns` as one tick, `hour` candles after the start."""
    names = tuple(
        instruments or (Instrument("simulated", f"C{i:03}/USDT") for i in range(len(values)))
    )
    ones: Ints = np.ones(len(values), dtype=np.int64)
    as_of = from_ms(to_ms(START) + hour * HOUR_MS)
    return FeatureBatch(
        exchange="simulated",
        timeframe=Timeframe.H1,
        as_of=as_of,
        instruments=names,
        feature_set=PANEL,
        values=values,
        coverage=np.ones(len(values)),
        revision=ones,
        candle_revision=ones,
        known_at=as_of,
    )


def reordered(batch: FeatureBatch, columns: Sequence[str]) -> FeatureBatch:
    """The same rows with their columns in another order."""
    order = [PANEL.columns.index(column) for column in columns]
    feature_set = replace(PANEL, columns=tuple(columns))
    return replace(batch, feature_set=feature_set, values=batch.values[:, order])


def new_rows(count: int = 40) -> FeatureBatch:
    """A tick that no model was taught."""
    return panel_batch(panel_features(count, seed=99))


def without(batch: FeatureBatch, column: str) -> FeatureBatch:
    """The same rows of a feature set that lacks a column."""
    return reordered(batch, [name for name in PANEL.columns if name != column])


def per_row(output: Floats) -> Floats:
    """A forecast as a table, whatever its target."""
    return output.reshape(len(output), -1)


EXAMPLES = panel_examples(250)
