"""A feature set: how fast a market moves, from columns that each feature row has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from domain.events import Floats

FORMULAS: Final = {
    "haste": "ln(range_ratio / atr_ratio): this candle's range beside the usual one's",
    "efficiency": "|log_return_24| / (sqrt(24) realized_volatility_24); after Kaufman 1995",
}


@dataclass(frozen=True)
class Tempo:
    """Two ratios; NaN where a part is unknown or a denominator is not above 0."""

    name: str = "tempo"
    version: int = 1
    formulas: Mapping[str, str] = field(default_factory=lambda: dict(FORMULAS))
    reads: tuple[str, ...] = ("range_ratio", "atr_ratio", "log_return_24", "realized_volatility_24")
    distributions: tuple[str, ...] = ()

    def compute(self, inputs: Floats) -> Floats:
        span, usual, change, volatility = np.where(np.isfinite(inputs), inputs, np.nan).T
        positive = (span > 0) & (usual > 0)
        haste = np.log(np.where(positive, span, np.nan) / np.where(positive, usual, np.nan))
        moving = np.where(volatility > 0, volatility, np.nan)
        return np.column_stack((haste, np.abs(change) / (np.sqrt(24) * moving)))


TEMPO: Final = Tempo()
