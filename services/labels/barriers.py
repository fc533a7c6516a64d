"""The geometry of triple barriers: how far away they stand and which candle touches them.

Labels `direction@1`, after López de Prado, «Advances in Financial Machine Learning», ch. 3.
"""

from __future__ import annotations

import numpy as np

from domain.events import Bools, Floats

ALPHA = 0.06  # of the EWMA of squared returns (RiskMetrics 1996)
WARMUP_RETURNS = 50  # before it, the volatility is not known
SIGMAS = 1.0  # barriers stand this many standard deviations over the horizon away
ROUND_TRIPS = 2.0  # and at least this many round-trip costs


def barrier_width(volatility: Floats, horizon: int, cost_bps: float) -> Floats:
    """Distance of both barriers from the entry, as a log return.

    Args:
        volatility: (n,) standard deviation of one candle's log return; NaN = not known.
        horizon: candles.
        cost_bps: of one side, in basis points; a round trip is twice that.

    >>> barrier_width(np.array([0.01, 0.0001, np.nan]), 4, 10.0)
    array([0.02 , 0.004,   nan])
    """
    least = ROUND_TRIPS * 2.0 * cost_bps * 1e-4
    width: Floats = np.maximum(SIGMAS * volatility * np.sqrt(horizon), least)
    return width


def touches(high: Floats, low: Floats, upper: Floats, lower: Floats) -> tuple[Bools, Bools]:
    """Which barriers the candles reach; an unknown barrier (NaN) is never touched."""
    return high >= upper, low <= lower


def squared_mean(total: Floats, weight: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """One step of an EWMA whose weights sum to 1 from the first value on.

    The mean is total / weight; NaN in `squares` leaves both as they are.
    """
    known = ~np.isnan(squares)
    keep = np.where(known, 1.0 - ALPHA, 1.0)
    new = np.where(known, ALPHA, 0.0)
    return total * keep + np.where(known, squares, 0.0) * ALPHA, weight * keep + new
