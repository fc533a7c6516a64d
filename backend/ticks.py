"""Stored candles as the ticks that a live system would have seen, and many ticks as one commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import numpy as np

from backend.store.columns import CandlePanel
from backend.store.instruments import NOT_YET
from domain.events import CandleBatch, LabelBatch, Source
from domain.market import Instrument, from_ms, to_ms


def ticks(
    panel: CandlePanel,
    *,
    exchange: str,
    joined: Mapping[Instrument, datetime | None] | None = None,
) -> Iterator[CandleBatch]:
    """Batches in order of their close times, each of the instruments that have a candle.

    A candle counts as known at its close. Those of a close at which their instruments were no
    members yet come after it, marked `late`, with those that joined at the same moment: what is
    made of them is the same, whoever else joined later.

    Args:
        panel: the candles.
        exchange: the name on the batches.
        joined: closes up to then were drawn without the instrument; None: it is in all.
    """
    moments = [(joined or {}).get(one) for one in panel.instruments]
    joined_ms = np.array([-1 if one is None else to_ms(one) for one in moments], dtype=np.int64)
    # One that has joined nothing so far has no company.
    company = np.where(joined_ms == to_ms(NOT_YET), -2 - np.arange(len(moments)), joined_ms)
    prices = (panel.open, panel.high, panel.low, panel.close, panel.volume)
    table = np.stack(prices) if len(panel.open_ms) else np.empty((5, 0, 0))
    for row, open_ms in enumerate(panel.open_ms.tolist()):
        closed = np.isfinite(panel.close[row])
        close_ms = open_ms + panel.timeframe.ms
        outside = close_ms <= joined_ms
        parts = [(False, closed & ~outside)]
        parts += [(True, closed & (company == one)) for one in dict.fromkeys(company[outside])]
        for late, present in parts:
            columns = np.flatnonzero(present)
            if not len(columns):
                continue
            opened, high, low, close, volume = table[:, row, columns]
            yield CandleBatch(
                exchange=exchange,
                timeframe=panel.timeframe,
                as_of=from_ms(close_ms),
                instruments=tuple(panel.instruments[column] for column in columns.tolist()),
                open=opened,
                high=high,
                low=low,
                close=close,
                volume=volume,
                known_at=from_ms(close_ms),
                revision=panel.revision[row, columns],
                source=Source.BACKFILL,
                late=late,
            )


def labels_once(events: Sequence[object]) -> list[object]:
    """The events of several ticks, all their labels in one batch, each as it was told last.

    A label is told when a barrier is touched and again when its horizon has passed; written
    together, only the second is news.

    Args:
        events: the labels among them of one panel.
    """
    told: dict[int, list[LabelBatch]] = {}
    for event in events:
        if isinstance(event, LabelBatch):
            told.setdefault(event.horizon, []).append(event)
    rest = [event for event in events if not isinstance(event, LabelBatch)]
    return [*rest, *map(_last, told.values())]


def _last(told: Sequence[LabelBatch]) -> LabelBatch:
    """The labels of one horizon, each once."""
    arrays: dict[str, Any] = {
        field.name: np.concatenate([getattr(batch, field.name) for batch in told])
        for field in fields(LabelBatch)
        if isinstance(getattr(told[0], field.name), np.ndarray)
    }
    instruments = tuple(one for batch in told for one in batch.instruments)
    labels = replace(told[0], instruments=instruments, **arrays)
    keys = zip(instruments, labels.as_of_ms.tolist(), labels.revision.tolist(), strict=True)
    last = {key: position for position, key in enumerate(keys)}
    return labels.take(np.array(list(last.values()), dtype=np.int64))
