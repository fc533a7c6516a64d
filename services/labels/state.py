"""The labeller's state: what an instrument's past left behind, and its incomplete labels.

`past` has shape (len(Past), instruments); `pending` has shape (len(Pending), horizon,
instruments), a label at position (close / timeframe) mod horizon.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from domain.events import Floats


class Past(IntEnum):
    """Rows of the state of an instrument's past."""

    LAST_MS = 0  # close time of the newest candle
    CLOSE = 1
    TOTAL = 2  # of the EWMA of squared returns
    WEIGHT = 3
    RETURNS = 4  # how many it has seen


class Pending(IntEnum):
    """Rows of the state of a label that is not complete."""

    AS_OF_MS = 0  # NaN: no label
    CLOSE = 1  # at as_of
    WIDTH = 2  # of the barriers, known at as_of; NaN = no direction
    UPPER = 3
    LOWER = 4
    TOUCHED_MS = 5  # 0 = not yet
    OUTCOME = 6
    WEIGHT = 7
    SQUARES = 8  # of the log returns so far
    UNIQUENESS = 9  # Σ 1/concurrency while untouched, then its mean
    FILLED_MS = 10  # when the last repaired candle it rests on came; 0 = none
    VOID = 11  # 1 = a candle is missing


def no_past(n: int) -> Floats:
    """The past of `n` instruments that have none."""
    past = np.zeros((len(Past), n))
    past[Past.LAST_MS : Past.CLOSE + 1] = np.nan
    return past


def no_pending(horizon: int, n: int) -> Floats:
    """Room for the labels of `n` instruments."""
    pending = np.zeros((len(Pending), horizon, n))
    pending[Pending.AS_OF_MS] = np.nan
    return pending
