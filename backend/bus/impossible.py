"""Ticks that can be read and cannot be, and why: no room is to meet one of a broker."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from collectors.checks import REASONS, codes, possible
from domain.events import CandleBatch
from domain.market import rfc3339, to_ms
from domain.topics import panel_of


def fault(batch: CandleBatch, *, key: bytes | None, latest: datetime) -> str | None:
    """Why a tick cannot be; None for one that can.

    One that can is of the panel of its key and of a close on its timeframe's grid, was known not
    after `latest`, nor before its close where it has no versions, and has candles that can be, one
    for each instrument, sorted.

    Args:
        batch: the tick; its times are in UTC.
        key: of its record.
        latest: the end of what can be known by now.
    """
    panel = panel_of(batch)
    if panel.encode() != key:
        return f"a tick of {panel} came under the key {(key or b'')[:64].decode(errors='replace')}"
    if not batch.told and batch.as_of > batch.known_at:  # versions say themselves of which close
        return "it was known before its close"
    if batch.known_at > latest:
        return f"it is known from {rfc3339(batch.known_at)} on, which is far ahead of the clock"
    if batch.timeframe.open_of(batch.as_of) != batch.as_of:
        return f"its close is off the grid of {batch.timeframe}"
    return _fault_of_names(batch) or _fault_of_candles(batch)


def _fault_of_names(batch: CandleBatch) -> str | None:
    names = [one.symbol for one in batch.instruments]
    if not names:
        return "it holds no candle"
    if len(set(names)) < len(names):
        return "it names an instrument twice"
    return None if sorted(names) == names else "its instruments are not sorted"


def _fault_of_candles(batch: CandleBatch) -> str | None:
    prices = np.array((batch.open, batch.high, batch.low, batch.close, batch.volume)).T
    open_ms = to_ms(batch.as_of) - batch.timeframe.ms
    if open_ms >= 0 and possible(prices):
        return None
    found = codes(np.full(len(batch), open_ms), prices, batch.timeframe)
    first = int(np.flatnonzero(found)[0])
    return f"{batch.instruments[first].symbol}: {REASONS[found[first]]}"
