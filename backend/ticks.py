"""Stored or recorded candles as the ticks that a live system would have seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backend.store.columns import CandlePanel
from domain.events import CandleBatch, Source
from domain.market import from_ms


def ticks(panel: CandlePanel, *, exchange: str) -> Iterator[CandleBatch]:
    """Batches in order of their close times, each of the instruments that have a candle.

    A candle counts as known at its close.
    """
    columns = (panel.open, panel.high, panel.low, panel.close, panel.volume)
    table = np.stack(columns) if len(panel.open_ms) else np.empty((5, 0, 0))
    for row, open_ms in enumerate(panel.open_ms.tolist()):
        present = np.flatnonzero(np.isfinite(panel.close[row]))
        if not len(present):
            continue
        opened, high, low, close, volume = table[:, row, present]
        as_of = from_ms(open_ms + panel.timeframe.ms)
        yield CandleBatch(
            exchange=exchange,
            timeframe=panel.timeframe,
            as_of=as_of,
            instruments=tuple(panel.instruments[column] for column in present.tolist()),
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            known_at=as_of,
            revision=panel.revision[row, present],
            source=Source.BACKFILL,
        )
