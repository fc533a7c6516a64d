"""What reads of the record give back: columns, one element a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.events import Floats, Ints
from domain.market import Instrument, Timeframe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandleSeries:
    """The candles of one instrument, oldest first."""

    instrument: Instrument
    open_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    revision: Ints

    def __len__(self) -> int:
        return len(self.open_ms)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandlePanel:
    """Candles of many instruments on one grid: shape (times, instruments), NaN for a hole."""

    instruments: tuple[Instrument, ...]
    timeframe: Timeframe
    open_ms: Ints  # every interval from the first to the last candle
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    revision: Ints  # 0 for a hole

    @classmethod
    def of(cls, series: list[CandleSeries], timeframe: Timeframe) -> CandlePanel:
        """Lay series on one grid, in their order."""
        times = [one.open_ms for one in series if len(one)]
        grid = np.arange(0, dtype=np.int64)
        if times:
            first, last = min(one[0] for one in times), max(one[-1] for one in times)
            grid = np.arange(first, last + 1, timeframe.ms, dtype=np.int64)
        columns = {
            name: np.full((len(grid), len(series)), np.nan)
            for name in ("open", "high", "low", "close", "volume")
        }
        revision = np.zeros((len(grid), len(series)), dtype=np.int64)
        for place, one in enumerate(series):
            rows = (one.open_ms - grid[0]) // timeframe.ms if len(one) else one.open_ms
            for name, column in columns.items():
                column[rows, place] = getattr(one, name)
            revision[rows, place] = one.revision
        instruments = tuple(one.instrument for one in series)
        return cls(
            instruments=instruments,
            timeframe=timeframe,
            open_ms=grid,
            revision=revision,
            **columns,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureTable:
    """Stored feature rows, ordered by (as_of, instrument)."""

    columns: tuple[str, ...]
    instruments: tuple[Instrument, ...]  # (m,)
    as_of_ms: Ints
    revision: Ints
    candle_revision: Ints
    coverage: Floats
    values: Floats  # (m, len(columns)); NaN where not known

    def __len__(self) -> int:
        return len(self.as_of_ms)
