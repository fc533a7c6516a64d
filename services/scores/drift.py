"""Whether a forecaster errs otherwise than it did: its losses, its coverage, its calibration.

Losses of overlapping labels are no independent draws: a detector that is fed all of them cries 22
times in 5 000 stationary ones (`learning.md` c.7). Each detector here hears every H-th of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.events import Floats
from domain.market import Horizon
from services.scores.blocks import Dates, block_means, block_test

DELTA: Final = 0.002  # of ADWIN (Bifet and Gavaldà 2007): chance of a false cut
FAR: Final = 3.0  # standard errors of coverage from what was promised
FEWEST_BLOCKS: Final = 10
BINS: Final = 10  # of a calibration error
FEWEST_EFFECTIVE: Final = 500  # rows divided by the horizon, for a calibration error


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What detectors say of a series of losses."""

    alarms: int  # detectors that cut the series within the newest part, because losses rose
    detectors: int
    before: float  # mean loss up to the newest part
    now: float  # mean loss since

    @property
    def share(self) -> float:
        return self.alarms / self.detectors


def change(losses: Floats, steps: int, *, newest: int, detector: Any) -> Change:  # noqa: ANN401 - a class of river's
    """Whether losses have risen, in standard deviations of what they were.

    ADWIN's bound is of values within 0 to 1: of log losses, which differ in the second
    decimal, it would never say a thing.

    Args:
        losses: (n,) one of each close, oldest first, without NaN.
        steps: of the horizon, in candles: how many detectors take turns.
        newest: how many of them came since this was last asked.
        detector: makes an ADWIN.
    """
    first = max(len(losses) - newest, 0)
    spread = float(losses[:first].std()) if first else 0.0
    scaled = losses / spread if spread > 0.0 else losses
    alarms = 0
    for phase in range(steps):
        adwin, rose = detector(delta=DELTA, clock=1), False
        for at in range(phase, len(losses), steps):
            mean = adwin.estimation
            adwin.update(float(scaled[at]))
            if adwin.drift_detected and at >= first:
                rose |= adwin.estimation > mean
        alarms += rose
    return Change(
        alarms=alarms,
        detectors=steps,
        before=float(losses[:first].mean()) if first else float("nan"),
        now=float(losses[first:].mean()) if newest else float("nan"),
    )


def coverage_distance(covered: Dates, horizon: Horizon, promised: float) -> tuple[float, int]:
    """How many standard errors the share of returns within an interval is from what was promised.

    Args:
        covered: column 0: the share of each close.
        horizon: of the predictions.
        promised: 0.8 of the interval from q10 to q90.

    Returns:
        0 where there are too few blocks, and how many there are.
    """
    means = block_means(covered, horizon).losses[:, 0]
    test = block_test(means)
    if len(means) < FEWEST_BLOCKS or not test.error > 0.0:
        return 0.0, len(means)
    return (test.mean - promised) / test.error, len(means)


def calibration_error(probability: Floats, happened: Floats, steps: int) -> float | None:
    """Mean distance of a probability from how often it came true, over bins of equal size.

    Args:
        probability: (n,) of an event.
        happened: (n,) 1.0 where it did.
        steps: of the horizon: n / steps is what the rows are worth.

    Returns:
        None where they are worth less than 500.
    """
    if len(probability) < FEWEST_EFFECTIVE * steps:
        return None
    order = np.argsort(probability, kind="stable")
    parts = zip(
        np.array_split(probability[order], BINS), np.array_split(happened[order], BINS), strict=True
    )
    return float(np.mean([abs(said.mean() - came.mean()) for said, came in parts]))


def expected_loss(probabilities: Floats) -> float:
    """The log loss that forecasts promise of themselves, before any label is known: their entropy.

    Args:
        probabilities: (n, 3).
    """
    safe = np.clip(probabilities, 1e-12, 1.0)
    return float(-(probabilities * np.log(safe)).sum(axis=1).mean())
