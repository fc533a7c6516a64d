"""The regime of a horizon: whether the price rose, and how much it moved for its instrument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.classes import NOTHING, VOID, Close
from domain.events import Floats, Ints
from domain.market import Instrument

TERCILES: Final = 3
LEAST_PAST: Final = 50  # labels of an instrument, before its limits are drawn


@dataclass(frozen=True, slots=True)
class Regime:
    """Sign of the log return × tercile of the realised volatility, each instrument by itself.

    The terciles' limits are of its labels that were known at the close: those of the last
    1 000 closes, so that a regime is of the weeks around it. A log return of 0 has no sign,
    and no label.
    """

    name: str = "regime"
    version: int = 1
    classes: tuple[str, ...] = (
        *("down_calm", "down_usual", "down_wild"),
        *("up_calm", "up_usual", "up_wild"),
    )
    memory: int = 1_000

    def subjects(self, instruments: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
        return instruments

    def tell(self, close: Close) -> Ints:
        limits = terciles(close.past_realized_volatility)
        moved = close.realized_volatility
        tercile = (moved > limits).sum(axis=0)  # what equals a limit is below it
        classes = TERCILES * (close.log_return > 0) + tercile
        told = close.known & np.isfinite(limits).all(axis=0) & (close.log_return != 0)
        void = ~(np.isfinite(close.log_return) & np.isfinite(moved))
        result: Ints = np.where(told, np.where(void, VOID, classes), NOTHING)
        return result


def terciles(past: Floats) -> Floats:
    """The upper limits of the lower two thirds, shape (2, n); NaN where too little is known.

    Args:
        past: (m, n), NaN = unknown.
    """
    ordered = np.sort(past, axis=0)  # NaN comes last
    count = np.isfinite(past).sum(axis=0)
    limits = np.full((TERCILES - 1, past.shape[1]), np.nan)
    enough = np.flatnonzero(count >= LEAST_PAST)
    for part in range(1, TERCILES):
        place = -(-part * count[enough] // TERCILES) - 1
        limits[part - 1, enough] = ordered[place, enough]
    return limits


REGIME: Final = Regime()
