"""Label rows by hand, put through a room close by close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from alphapulse_testing.panel import PANEL, panel_batch, panel_features
from domain.classes import ClassLabelBatch, ClassPredictionBatch, LabelKind
from domain.events import FeatureBatch, Floats, LabelBatch
from domain.market import Instrument, Timeframe, from_ms
from services.classes.room import ClassRoom
from tests.doubles import ManualClock

H1 = Timeframe.H1
HORIZON = 4
FIRST = 473_352  # hours since 1970
NAMES = tuple(Instrument("walk", f"{base}/USDT") for base in ("ADA", "BTC", "ETH", "SOL"))


def hour(number: int) -> int:
    """Close of a candle, in ms."""
    return (FIRST + number) * H1.ms


def room(*kinds: LabelKind, at: int = 0) -> ClassRoom:
    return ClassRoom("walk", H1, HORIZON, kinds, ManualClock(from_ms(hour(at))))


def features(number: int, instruments: Sequence[Instrument] = NAMES) -> FeatureBatch:
    batch = panel_batch(panel_features(len(instruments), seed=number), instruments=instruments)
    return replace(batch, exchange="walk", as_of=from_ms(hour(number)), feature_set=PANEL)


def labels(
    number: int,
    returns: Floats,
    *,
    known: int | None = None,
    instruments: Sequence[Instrument] = NAMES,
) -> LabelBatch:
    """Complete labels of a close; a return of NaN is void, and the volatility is its size."""
    n = len(instruments)
    known_ms = hour(number + HORIZON if known is None else known)
    shared: dict[str, Any] = dict.fromkeys(("outcome", "weight", "uniqueness"), np.zeros(n))
    return LabelBatch(
        exchange="walk",
        timeframe=H1,
        horizon=HORIZON,
        instruments=tuple(instruments),
        as_of_ms=np.full(n, hour(number)),
        revision=np.ones(n, dtype=np.int64),
        direction_known_ms=np.full(n, known_ms),
        known_ms=np.full(n, known_ms),
        log_return=returns,
        realized_volatility=np.abs(returns),
        **shared,
    )


def walk(
    classes: ClassRoom, returns: Floats
) -> tuple[list[ClassPredictionBatch], list[ClassLabelBatch]]:
    """Closes 0 to m − 1 with their labels as they become known.

    Args:
        classes: the room.
        returns: (m, n) over the horizon, of each close.
    """
    said: list[ClassPredictionBatch] = []
    came: list[ClassLabelBatch] = []
    for number in range(len(returns)):
        said += classes.on_features(features(number))
        if number >= HORIZON:
            came += classes.on_labels(labels(number - HORIZON, returns[number - HORIZON]))
    return said, came


def told(came: Sequence[ClassLabelBatch]) -> dict[tuple[str, int, Instrument, int], int]:
    """kind, as_of, whose, revision → class."""
    return {
        (batch.kind, as_of, one, revision): number
        for batch in came
        for as_of, one, revision, number in zip(
            batch.as_of_ms.tolist(),
            batch.instruments,
            batch.revision.tolist(),
            batch.classes.tolist(),
            strict=True,
        )
    }
