"""The pool run forward over a locked holdout: the weights and the forecast it would have had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from domain.events import Floats, Ints, Target
from domain.market import Timeframe
from services.predictions.composition import Composition


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Weights at the end, and the pooled forecast of each row with the weights of its time."""

    weights: Mapping[str, float]
    pooled: Floats  # (k,) or (k, 3)


def rehearse(
    target: Target,
    *,
    timeframe: Timeframe,
    horizon: int,
    as_of_ms: Ints,
    forecasts: Mapping[str, Floats],
    losses: Mapping[str, Floats],
) -> Rehearsal:
    """Pool `forecasts` tick by tick, weighing members by losses that were known by then.

    Args:
        target: of the pool.
        timeframe: of the rows.
        horizon: in candles.
        as_of_ms: (k,) of the holdout's rows, in any order.
        forecasts: of the fitted members, rows matching `as_of_ms`.
        losses: of the same members, and of baselines, which compete for weight only.
    """
    composition = Composition(target, timeframe=timeframe, horizon=horizon)
    pooled = np.full_like(next(iter(forecasts.values())), np.nan)
    waiting: list[tuple[int, Ints]] = []
    for tick in np.unique(as_of_ms):
        while waiting and waiting[0][0] <= tick:
            known = waiting.pop(0)[1]
            composition.pool.learn({name: loss[known] for name, loss in losses.items()})
        rows = np.flatnonzero(as_of_ms == tick)
        pooled[rows] = composition.blend({name: f[rows] for name, f in forecasts.items()})
        waiting.append((int(tick) + horizon * timeframe.ms, rows))
    for _, known in waiting:
        composition.pool.learn({name: loss[known] for name, loss in losses.items()})
    names = list(losses)
    weights = composition.pool.weights(names)
    return Rehearsal(weights=dict(zip(names, weights.tolist(), strict=True)), pooled=pooled)
