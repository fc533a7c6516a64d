"""Whether what the models rest on has changed: one look at the record, in a worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from backend.store.database import pool_of_one
from backend.store.drift import DriftRecord, PoolLosses, Said
from domain.events import FeatureSet, Floats, Ints, Target
from domain.losses import LOSS_OF
from domain.market import Horizon, to_ms
from services.models.detector import adwin
from services.scores.blocks import Dates
from services.scores.drift import (
    FAR,
    calibration_error,
    change,
    coverage_distance,
    expected_loss,
)
from services.scores.shift import BINS, discoveries, shift

RECORD: Final = timedelta(days=90)  # of losses and forecasts
RECENT: Final = timedelta(days=30)  # of features
LATELY: Final = timedelta(days=10)  # of forecasts
SAMPLED: Final = 500  # closes of a feature sample, at most
FEATURE_PSI: Final = 0.2
FEATURE_SHARE: Final = 0.2  # of the columns
HALF: Final = 0.5  # of the detectors
CALIBRATION: Final = 0.05
PREDICTION_P: Final = 0.01
COVERED: Final = 0.8
DAY: Final = timedelta(days=1)

ERROR, COVERAGE, CALIBRATED = "error", "coverage", "calibration"
FEATURE, PREDICTION = "feature", "prediction"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminationOrder:
    """What to look at.

    Args:
        since: when it was last looked at.
        trained: first and last close of the rows that the newest fit saw.
    """

    database_url: str
    exchange: str
    horizon: Horizon
    feature_set: FeatureSet
    at: datetime
    since: datetime
    trained: tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A statistic beyond its threshold."""

    kind: str
    target: str
    statistic: float
    threshold: float
    window_n: int
    words: str
    evidence: dict[str, Any] = field(default_factory=dict)


def examine(order: ExaminationOrder) -> list[Finding]:
    """Run in a worker process; the same record gives the same findings."""
    return asyncio.run(_examine(order))


async def _examine(order: ExaminationOrder) -> list[Finding]:
    async with pool_of_one(order.database_url) as pool:
        record = DriftRecord(pool)
        span: dict[str, datetime] = {"since": order.at - RECORD, "until": order.at}
        losses = await record.losses(order.exchange, order.horizon, **span)
        said = await record.said(order.exchange, order.horizon, **span)
        first, last = order.trained
        reference = await _sample(record, order, first, last)
        recent = await _sample(record, order, order.at - RECENT, order.at)
    return [
        *_errors(order, losses),
        *_coverage(order, losses[Target.QUANTILES]),
        *_calibration(order, said),
        *_prediction(order, said),
        *_features(order, reference, recent),
    ]


async def _sample(
    record: DriftRecord, order: ExaminationOrder, since: datetime, until: datetime
) -> Floats:
    closes = (until - since) / order.horizon.timeframe.duration
    return await record.features(
        order.exchange,
        order.horizon,
        feature_set=order.feature_set.id,
        since=since,
        until=until,
        known_by=order.at,
        every=max(int(closes // SAMPLED), 1),
    )


def _errors(order: ExaminationOrder, losses: dict[Target, PoolLosses]) -> Iterator[Finding]:
    for target, record in losses.items():
        values = record.losses[LOSS_OF[target]]
        known = np.isfinite(values)
        newest = int((record.as_of_ms[known] > to_ms(order.since)).sum())
        found = change(values[known], order.horizon.steps, newest=newest, detector=adwin)
        if found.share >= HALF:
            yield Finding(
                kind=ERROR,
                target=target.value,
                statistic=found.share,
                threshold=HALF,
                window_n=int(known.sum()),
                words=f"loss of pool.{target} rose: {found.now:.4g}, {found.before:.4g} before; "
                f"{found.alarms} of {found.detectors} detectors say so",
                evidence={"before": found.before, "now": found.now},
            )


def _coverage(order: ExaminationOrder, record: PoolLosses) -> Iterator[Finding]:
    covered = record.losses["covered"]
    dates = Dates(as_of_ms=record.as_of_ms, losses=covered[:, None], counts=record.counts)
    distance, blocks = coverage_distance(dates, order.horizon, COVERED)
    if abs(distance) > FAR:
        share = float(np.nanmean(covered))
        yield Finding(
            kind=COVERAGE,
            target=Target.QUANTILES.value,
            statistic=distance,
            threshold=FAR,
            window_n=blocks,
            words=f"intervals cover {share:.1%}, not {COVERED:.0%}, over {blocks} blocks",
            evidence={"covered": share},
        )


def _calibration(order: ExaminationOrder, said: Said) -> Iterator[Finding]:
    known = np.isfinite(said.outcome)
    errors = {
        name: calibration_error(
            said.probabilities[known, column],
            (said.outcome[known] == sign).astype(np.float64),
            order.horizon.steps,
        )
        for column, (name, sign) in enumerate((("down", -1), ("flat", 0), ("up", 1)))
    }
    worst = max((one for one in errors.values() if one is not None), default=0.0)
    if worst > CALIBRATION:
        yield Finding(
            kind=CALIBRATED,
            target=Target.DIRECTION.value,
            statistic=worst,
            threshold=CALIBRATION,
            window_n=int(known.sum()),
            words=f"probabilities are off by {worst:.3f} on average",
            evidence={
                **errors,
                "promised_loss": expected_loss(said.probabilities[~known])
                if (~known).any()
                else None,
            },
        )


def _prediction(order: ExaminationOrder, said: Said) -> Iterator[Finding]:
    """The balance of up and down, two days running otherwise than before."""
    balance = said.probabilities[:, 2] - said.probabilities[:, 0]
    shifts = []
    for back in (DAY, timedelta(0)):
        now = order.at - back
        before = said.as_of_ms <= to_ms(now - LATELY)
        lately = ~before & (said.as_of_ms <= to_ms(now))
        days = (_days(said.as_of_ms[before]), _days(said.as_of_ms[lately]))
        shifts.append(shift(balance[before], balance[lately], days=days))
    if all(one.p < PREDICTION_P for one in shifts):
        last = shifts[-1]
        yield Finding(
            kind=PREDICTION,
            target=Target.DIRECTION.value,
            statistic=last.p,
            threshold=PREDICTION_P,
            window_n=len(balance),
            words=f"p_up less p_down is distributed otherwise than before, p = {last.p:.2g} twice",
            evidence={"jensen_shannon": last.jensen_shannon},
        )


def _days(as_of_ms: Ints) -> int:
    return len(np.unique(as_of_ms // (DAY // timedelta(milliseconds=1))))


def _features(order: ExaminationOrder, reference: Floats, recent: Floats) -> Iterator[Finding]:
    columns = order.feature_set.columns
    if not len(reference) or not len(recent):
        return
    first, last = order.trained
    days = ((last - first) // DAY, RECENT // DAY)
    shifts = [
        shift(reference[:, column], recent[:, column], days=days) for column in range(len(columns))
    ]
    told = discoveries(np.array([one.p for one in shifts]))
    found = {
        name: one.psi
        for name, one, sure in zip(columns, shifts, told, strict=True)
        if sure and one.psi > FEATURE_PSI and name in order.feature_set.model_columns
    }
    share = len(found) / len(order.feature_set.model_columns)
    if share >= FEATURE_SHARE:
        yield Finding(
            kind=FEATURE,
            target="",
            statistic=share,
            threshold=FEATURE_SHARE,
            window_n=len(recent),
            words=f"{len(found)} columns are distributed otherwise than in the last training",
            evidence={"psi": found, "bins": BINS},
        )
