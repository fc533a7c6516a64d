"""Builders of candles in which every field has a default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from domain.events import Candle, CandleBatch, Floats
from domain.market import Instrument, Timeframe, from_ms, to_ms
from tests.doubles import START

BTC = Instrument("simulated", "BTC/USDT")
ETH = Instrument("simulated", "ETH/USDT")
SOL = Instrument("simulated", "SOL/USDT")

CANDLE = Candle(
    instrument=BTC,
    timeframe=Timeframe.H1,
    open_ms=to_ms(START),
    open=100.0,
    high=102.0,
    low=99.0,
    close=101.0,
    volume=10.0,
)


def candle(**changes: Any) -> Candle:
    """One closed candle, with `changes` to any of its fields."""
    return replace(CANDLE, **changes)


def candles(
    n: int,
    *,
    seed: int = 0,
    instrument: Instrument = BTC,
    timeframe: Timeframe = Timeframe.H1,
    start: datetime = START,
) -> list[Candle]:
    """A random walk of `n` candles of one instrument, the first opening at `start`."""
    return [
        replace(
            CANDLE,
            instrument=instrument,
            timeframe=timeframe,
            open_ms=to_ms(batch.as_of) - timeframe.ms,
            open=float(batch.open[0]),
            high=float(batch.high[0]),
            low=float(batch.low[0]),
            close=float(batch.close[0]),
            volume=float(batch.volume[0]),
        )
        for batch in candle_batches([instrument], n, seed=seed, timeframe=timeframe, start=start)
    ]


def candle_batches(
    instruments: Sequence[Instrument],
    n: int,
    *,
    seed: int = 0,
    timeframe: Timeframe = Timeframe.H1,
    start: datetime = START,
) -> list[CandleBatch]:
    """`n` ticks of random walks with 1 % steps, all instruments of one exchange.

    The first candle opens at `start`; each tick is known at its close.
    """
    names = tuple(sorted(instruments))
    prices = random_walk(n, len(names), seed=seed)
    ticks = (from_ms(to_ms(start) + (row + 1) * timeframe.ms) for row in range(n))
    return [
        CandleBatch(
            exchange=names[0].exchange,
            timeframe=timeframe,
            as_of=as_of,
            instruments=names,
            open=prices["open"][row],
            high=prices["high"][row],
            low=prices["low"][row],
            close=prices["close"][row],
            volume=prices["volume"][row],
            known_at=as_of,
            revision=np.ones(len(names), dtype=np.int64),
        )
        for row, as_of in enumerate(ticks)
    ]


def random_walk(n: int, instruments: int, *, seed: int = 0) -> dict[str, Floats]:
    """Open, high, low, close (from 100) and volume, each of shape (n, instruments)."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (n, instruments)), axis=0))
    opened = np.vstack([np.full((1, instruments), 100.0), close[:-1]])
    wick = np.abs(rng.normal(0.0, 0.004, (2, n, instruments)))
    return {
        "open": opened,
        "high": np.maximum(opened, close) * (1.0 + wick[0]),
        "low": np.minimum(opened, close) * (1.0 - wick[1]),
        "close": close,
        "volume": np.exp(rng.normal(3.0, 0.7, (n, instruments))),
    }
