"""A kind of class label: whether an instrument did better than the middle of its market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.classes import NOTHING, VOID, Close
from domain.events import Ints
from domain.market import Instrument

LEAST: Final = 3  # instruments whose return is known


@dataclass(frozen=True, slots=True)
class Leader:
    """The log return over the horizon against the cross-section's median, which has no label."""

    name: str = "leader"
    version: int = 1
    classes: tuple[str, ...] = ("lags", "leads")
    memory: int = 0

    def subjects(self, instruments: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
        return instruments

    def tell(self, close: Close) -> Ints:
        known = np.isfinite(close.log_return)
        if known.sum() < LEAST:
            return np.where(close.known, VOID, NOTHING)
        ahead = close.log_return - np.median(close.log_return[known])
        told = np.where(ahead == 0, NOTHING, (ahead > 0).astype(np.int64))
        return np.where(close.known, np.where(known, told, VOID), NOTHING)


LEADER: Final = Leader()
