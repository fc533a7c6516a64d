"""Rows of ccxt become candles: what is not known in one is NaN, one without a time is no row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from domain.events import Candle, Source
from domain.market import LATEST_MS, Instrument, Timeframe

_TRADES = 6  # position; only Binance's rows have it


def candle_of(
    instrument: Instrument,
    timeframe: Timeframe,
    row: Sequence[Any],
    *,
    closed: bool,
    confirmed: bool,
) -> Candle:
    """A copy of ccxt's row, which ccxt changes later.

    Raises:
        TypeError, ValueError, LookupError: it cannot be read.
    """
    open_, high, low, close, volume = (number(one) for one in row[1:_TRADES])
    trades = row[_TRADES] if len(row) > _TRADES else None
    return Candle(
        instrument=instrument,
        timeframe=timeframe,
        open_ms=moment(row[0]),
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trades=None if trades is None else whole(trades),
        closed=closed,
        confirmed=confirmed,
        source=Source.BACKFILL if confirmed else Source.LIVE,
    )


def number(value: Any) -> float:  # noqa: ANN401 - whatever an exchange sends
    """A price or an amount, NaN where none is told.

    Raises:
        TypeError, ValueError, OverflowError: it is something else.
    """
    if isinstance(value, bool):
        raise TypeError(f"{value} is not a number")
    return math.nan if value is None else float(value)


def whole(value: Any) -> int:  # noqa: ANN401 - as above
    """A count.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise TypeError(f"{value!r:.40} is not a whole number")
    if not 0 <= value <= LATEST_MS:
        raise ValueError(f"{value!r:.40} is out of range")
    return int(value)


def moment(value: Any) -> int:  # noqa: ANN401 - as above
    """A time in milliseconds since 1970.

    Raises:
        TypeError, ValueError: it is something else.
    """
    return whole(value)
