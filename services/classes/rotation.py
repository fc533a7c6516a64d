"""Where money went over a horizon: into bitcoin, or into the rest of the market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.classes import NOTHING, VOID, Close
from domain.events import Ints
from domain.market import Instrument

LEADER: Final = "BTC"
LEAST_OTHERS: Final = 2  # bases
LEAST_SHARE: Final = 0.5  # of the others that had a candle at the close


@dataclass(frozen=True, slots=True)
class Rotation:
    """Sign of bitcoin's log return less the equal-weight mean of the others'.

    The others are who had a candle at the close, each base once (its first symbol). There is one
    label a close, of bitcoin's first symbol: void where its own is, or where less than half of
    the others are known. Equal returns have no sign, and no label.
    """

    name: str = "rotation"
    version: int = 1
    classes: tuple[str, ...] = ("others", "bitcoin")
    memory: int = 0

    def subjects(self, instruments: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
        leader = next((one for one in sorted(instruments) if one.base == LEADER), None)
        others = {one.base for one in instruments} - {LEADER}
        return () if leader is None or len(others) < LEAST_OTHERS else (leader,)

    def tell(self, close: Close) -> Ints:
        classes = np.full(len(close.instruments), NOTHING, dtype=np.int64)
        subjects = self.subjects(close.instruments)
        if not subjects:
            return classes
        leader = close.instruments.index(subjects[0])
        if not close.known[leader]:
            return classes
        firsts: dict[str, int] = {}
        for position, one in enumerate(close.instruments):
            firsts.setdefault(one.base, position)
        del firsts[LEADER]
        returns = close.log_return[list(firsts.values())]
        known = returns[np.isfinite(returns)]
        own = close.log_return[leader]
        if not np.isfinite(own) or len(known) < max(LEAST_OTHERS, LEAST_SHARE * len(returns)):
            classes[leader] = VOID
        elif own != known.mean():
            classes[leader] = int(own > known.mean())
        return classes


ROTATION: Final = Rotation()
