"""Candles of a random walk, of which nothing can be foretold."""

from __future__ import annotations

from typing import Final

import numpy as np

from domain.events import Floats
from domain.market import Instrument

INSTRUMENTS: Final = tuple(Instrument("walk", f"{base}/USDT") for base in "ABCD")
STEP: Final = 0.01  # standard deviation of a log return
FIRST: Final = 473_352  # hours since 1970: a Monday
NEAR: Final = 4.0  # standard errors of a correlation that is none


def walked_candles(count: int) -> Floats:
    """(count + 1, instruments, 5), one an hour from FIRST on; the last is what comes next."""
    rng = np.random.default_rng(5)
    shape = (count + 1, len(INSTRUMENTS))
    close = 100 * np.exp(np.cumsum(rng.normal(0, STEP, shape), axis=0))
    opened = np.vstack((np.full((1, shape[1]), 100.0), close[:-1]))
    wick = np.exp(np.abs(rng.normal(0, STEP / 2, (2, *shape))))
    high, low = np.maximum(opened, close) * wick[0], np.minimum(opened, close) / wick[1]
    return np.stack((opened, high, low, close, rng.lognormal(3, 1, shape)), axis=-1)
