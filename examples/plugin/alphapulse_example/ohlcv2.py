"""A candle feature set: most columns of `ohlcv@1`, and how far a price has fallen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.events import Floats
from services.features.feature_set import Column, Unit

CANDLES: Final = 48


@dataclass(frozen=True)
class Ohlcv2:
    """Two columns that see the last 48 candles."""

    name: str = "ohlcv2"
    version: int = 2
    without: tuple[str, ...] = ("bollinger_upper", "bollinger_middle", "bollinger_lower", "obv")
    adds: tuple[Column, ...] = (
        Column("drawdown_48", Unit.NONE, CANDLES, "ln(C / highest H over 48)"),
        Column("volume_ratio_12_48", Unit.NONE, CANDLES, "mean of V over 12 / over 48"),
    )
    candles: int = CANDLES
    distributions: tuple[str, ...] = ()

    def compute(self, candles: Floats) -> Floats:
        high, close, volume = candles[:, :, 1], candles[:, -1, 3], candles[:, :, 4]
        fallen = np.log(close / high.max(axis=1))  # NaN where a candle is unknown
        usual = volume.mean(axis=1)
        traded = volume[:, -12:].mean(axis=1) / np.where(usual > 0, usual, np.nan)
        return np.column_stack((fallen, traded))


OHLCV2: Final = Ohlcv2()
