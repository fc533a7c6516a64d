"""Which of two versions of one candle holds, whatever the order in which they came."""

from __future__ import annotations

import hashlib
import struct

from domain.events import Candle

Rank = tuple[bool, bool, int, int, float, bytes]


def rank(candle: Candle) -> Rank:
    """The order of one candle's versions: the greatest holds.

    Confirmed before closed, then the exchange's own time, trades, volume, and at last a
    hash of the prices, so that the order is total.
    """
    return (
        candle.confirmed,
        candle.closed,
        candle.event_ms,
        -1 if candle.trades is None else candle.trades,
        candle.volume,
        hashlib.sha256(struct.pack("<4d", *prices(candle))).digest(),
    )


def prices(candle: Candle) -> tuple[float, float, float, float]:
    """Open, high, low, close."""
    return candle.open, candle.high, candle.low, candle.close


def same_values(one: Candle, other: Candle) -> bool:
    """Whether both versions tell the same prices and volume.

    A confirmation that changes nothing is no event.
    """
    return one.volume == other.volume and prices(one) == prices(other)
