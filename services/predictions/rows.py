"""Forecast arrays to prediction rows: origin, version, and what degrades them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import numpy as np

from domain.events import (
    Bools,
    FeatureBatch,
    Floats,
    Ints,
    Origin,
    PredictionBatch,
    Role,
    Target,
    origin_of,
)
from services.predictions.composition import members_version

COMPLETE_COVERAGE = 0.98  # below it the features of a warm instrument stand on a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One forecaster's arrays over a tick; None for what it does not forecast."""

    model: str
    target: Target
    probabilities: Floats | None = None
    quantiles: Floats | None = None
    volatility: Floats | None = None

    @classmethod
    def of(cls, model: str, target: Target, values: Floats) -> Row:
        match target:
            case Target.DIRECTION:
                return cls(model=model, target=target, probabilities=values)
            case Target.QUANTILES:
                return cls(model=model, target=target, quantiles=values)
            case _:
                return cls(model=model, target=target, volatility=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """When the rows of one tick are made, and what is known against the served ones."""

    made_at: datetime
    bars: Ints  # (n,) candles since each instrument's first
    no_skill: tuple[str, ...] = field(default_factory=tuple)
    stale: bool = False
    drifts: bool = False
    broken: Bools | None = None  # (n,) candles of its window are missing and may still come


def prediction(  # noqa: PLR0913 - one place where a row is put together
    batch: FeatureBatch,
    row: Row,
    horizon: int,
    *,
    role: Role,
    version: str = "",
    members: Mapping[str, str] | None = None,
    standing: Standing,
    dissimilarity: Floats | None = None,
) -> PredictionBatch:
    """The batch of rows that `row` gives over the tick of `batch`."""
    n = len(batch)
    origin = origin_of(standing.made_at, batch.as_of, batch.timeframe, horizon)
    served = row.target is Target.SERVED
    codes = _codes(batch, origin, standing) if served else ("",) * n
    return PredictionBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=batch.instruments,
        horizon=horizon,
        role=role,
        target=row.target,
        model=row.model,
        version=members_version(members) if members is not None else version,
        members=members or {},
        made_at=standing.made_at,
        origin=origin,
        revision=batch.revision,
        feature_set=batch.feature_set.id,
        feature_revision=batch.revision,
        probabilities=_or_unknown(row.probabilities, (n, 3)),
        quantiles=_or_unknown(row.quantiles, (n, 3)),
        volatility=_or_unknown(row.volatility, (n,)),
        degraded=codes,
        dissimilarity=dissimilarity,
    )


def _or_unknown(values: Floats | None, shape: tuple[int, ...]) -> Floats:
    return _unknown(shape) if values is None else values


@lru_cache(maxsize=64)  # most of a tick's batches need the same two
def _unknown(shape: tuple[int, ...]) -> Floats:
    unknown = np.full(shape, np.nan)
    unknown.flags.writeable = False
    return unknown


def _codes(batch: FeatureBatch, origin: Origin, standing: Standing) -> tuple[str, ...]:
    warming = standing.bars < batch.feature_set.warmup_bars
    gap = ~warming & (batch.coverage < COMPLETE_COVERAGE)
    if standing.broken is not None:
        gap |= ~warming & standing.broken & (batch.coverage < 1.0)
    shared = [
        *(["late"] if origin is Origin.LATE else []),
        *(["stale"] if standing.stale else []),
        *(["drift"] if standing.drifts else []),
        *standing.no_skill,
    ]
    return tuple(
        ",".join([*(["warming_up"] if cold else []), *(["gap"] if hole else []), *shared])
        for cold, hole in zip(warming.tolist(), gap.tolist(), strict=True)
    )
