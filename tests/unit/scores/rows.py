"""Predictions, labels and outcomes for tests of this room, with a default in every field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from domain.events import (
    LOSSES,
    Floats,
    LabelBatch,
    Origin,
    OutcomeBatch,
    PredictionBatch,
    Role,
    Target,
)
from domain.market import Instrument, Timeframe, from_ms
from tests.factories import BTC, ETH

HOUR = Timeframe.H1.ms


def prediction(
    as_of: int, instruments: Sequence[Instrument] = (BTC, ETH), **changes: Any
) -> PredictionBatch:
    """A direction forecast at `as_of` hours after the epoch, horizon 2."""
    n = len(instruments)
    values: dict[str, Any] = {
        "exchange": "simulated",
        "timeframe": Timeframe.H1,
        "as_of": from_ms(as_of * HOUR),
        "instruments": tuple(instruments),
        "horizon": 2,
        "role": Role.MEMBER,
        "target": Target.DIRECTION,
        "model": "pool.direction",
        "version": "1",
        "made_at": from_ms(as_of * HOUR),
        "origin": Origin.LIVE,
        "revision": np.ones(n, dtype=np.int64),
        "feature_set": "ohlcv@1",
        "feature_revision": np.ones(n, dtype=np.int64),
        "probabilities": np.tile([0.25, 0.25, 0.5], (n, 1)),
        "quantiles": np.full((n, 3), np.nan),
        "volatility": np.full(n, np.nan),
        "degraded": ("",) * n,
    }
    return PredictionBatch(**(values | changes))


def label(as_of: int, instruments: Sequence[Instrument] = (BTC, ETH), **changes: Any) -> LabelBatch:
    """Complete labels of one close, all of them up by 1 %."""
    n = len(instruments)
    values: dict[str, Any] = {
        "exchange": "simulated",
        "timeframe": Timeframe.H1,
        "horizon": 2,
        "instruments": tuple(instruments),
        "as_of_ms": np.full(n, as_of * HOUR),
        "revision": np.ones(n, dtype=np.int64),
        "direction_known_ms": np.full(n, (as_of + 2) * HOUR),
        "known_ms": np.full(n, (as_of + 2) * HOUR),
        "outcome": np.ones(n),
        "weight": np.ones(n),
        "log_return": np.full(n, 0.01),
        "realized_volatility": np.full(n, 0.01),
        "uniqueness": np.ones(n),
    }
    return LabelBatch(**(values | changes))


def outcome(
    as_of: int,
    loss: Sequence[float] | Floats,
    column: str = "log_loss",
    **changes: Any,
) -> OutcomeBatch:
    """Losses of one forecaster at one close, one for each of the first instruments."""
    instruments = (BTC, ETH)[: len(loss)]
    losses = np.full((len(loss), len(LOSSES)), np.nan)
    losses[:, LOSSES.index(column)] = loss
    values: dict[str, Any] = {
        "exchange": "simulated",
        "timeframe": Timeframe.H1,
        "horizon": 2,
        "role": Role.MEMBER,
        "model": "pool.direction",
        "version": "1",
        "scored_at": from_ms((as_of + 2) * HOUR),
        "instruments": instruments,
        "as_of_ms": np.full(len(loss), as_of * HOUR),
        "revision": np.ones(len(loss), dtype=np.int64),
        "origin": Origin.LIVE,
        "losses": losses,
    }
    return OutcomeBatch(**(values | changes))
