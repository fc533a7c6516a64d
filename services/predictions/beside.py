"""The rows of the set that is beside the base, for the models that read them."""

from __future__ import annotations

from domain.events import FeatureBatch
from domain.market import Timeframe
from domain.ports import Model, OfCandles
from services.predictions.recent import Recent


class Beside:
    """What the newest close and those before it have of that set; nothing where there is none."""

    def __init__(self, timeframe: Timeframe) -> None:
        self.recent = Recent(timeframe)
        self._rows: FeatureBatch | None = None

    def take(self, batch: FeatureBatch) -> None:
        """Its rows of a tick, before those of the base are forecast of."""
        self._rows = batch
        self.recent.keep(batch)

    def read_by(self, model: Model, batch: FeatureBatch) -> FeatureBatch | None:
        """What a model reads at a tick: `batch`, or the rows beside it; None: not made yet."""
        named = candles_of(model)
        if not named or named == batch.feature_set.id:
            return batch
        rows = self._rows
        if rows is None or (rows.as_of, rows.instruments) != (batch.as_of, batch.instruments):
            return None
        return rows if rows.feature_set.id == named else None


def candles_of(model: Model) -> str:
    """The candle feature set that a model reads; empty: that of the release, or of the base."""
    return model.candles if isinstance(model, OfCandles) else ""
