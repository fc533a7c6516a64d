"""A candle feature set beside the release's: what tests put there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from domain.events import Floats
from services.features.feature_set import Column, Unit
from services.features.kinds import RELEASE, CandleSet


@dataclass(frozen=True)
class Second:
    """`ohlcv@2`: some columns fewer, and two of its own."""

    name: str = "second"
    version: int = 2
    without: tuple[str, ...] = ("bollinger_upper", "obv", "vwap")
    adds: tuple[Column, ...] = field(
        default=(
            Column("drawdown_12", Unit.NONE, 12, "ln(C / highest H over 12)"),
            Column("highest_12", Unit.PRICE, 12, "highest H over 12"),
        )
    )
    candles: int = 12
    distributions: tuple[str, ...] = ()

    def compute(self, candles: Floats) -> Floats:
        highest = candles[:, :, 1].max(axis=1)
        return np.column_stack((np.log(candles[:, -1, 3] / highest), highest))


PLUGIN = Second()
SECOND: Final = CandleSet.of(PLUGIN)
BOTH: Final = (RELEASE, SECOND)
