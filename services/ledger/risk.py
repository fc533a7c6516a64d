"""What open positions may lose within one candle, from how their prices moved together lately.

Variances and correlations are exponentially weighted means of squares and products of log
returns, the mean return taken as 0 (RiskMetrics 1996). Correlations are shrunk towards 0 by
the share that makes their expected squared error least (Schäfer and Strimmer 2005, «A shrinkage
approach to large-scale covariance matrix estimation», target D, with weights). Value at risk
and expected shortfall are those of a normal distribution: returns have heavier tails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from domain.events import Floats

ALPHA = 0.06  # weight of the newest return, as of all EWMAs here
BARS = 200  # returns that are asked for; those before would weigh 4e-6 together
FEWEST = 30  # returns without which nothing is said
LEVEL = 0.95
QUANTILE = 1.6448536269514722  # of the standard normal at LEVEL
SHORTFALL = math.exp(-(QUANTILE**2) / 2) / math.sqrt(2 * math.pi) / (1 - LEVEL)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Risk:
    """Of positions in n instruments, for one candle."""

    value_at_risk: float  # loss that is exceeded with probability 1 − LEVEL, share of equity
    expected_shortfall: float  # mean of the losses beyond it
    shrinkage: float  # 0 as measured, 1 uncorrelated
    correlation: Floats  # (n, n) after it


def risk_of(shares: Floats, returns: Floats) -> Risk | None:
    """The risk of what is held; None where fewer than FEWEST returns are known.

    Args:
        shares: (n,) of equity held in each instrument, below 0 for shorts.
        returns: (t, n) log returns of successive candles, the newest last; a row with an
            unknown one (NaN) is left out.
    """
    known = returns[np.isfinite(returns).all(axis=1)]
    if len(known) < FEWEST or not len(shares):
        return None
    decayed = np.power(1.0 - ALPHA, np.arange(len(known))[::-1])
    weights: Floats = decayed / decayed.sum()
    deviation = np.sqrt(weights @ known**2)
    still = deviation == 0.0  # a price that does not move goes with nothing
    scaled = np.where(still, 0.0, known / np.where(still, 1.0, deviation))
    measured = (scaled * weights[:, None]).T @ scaled
    shrinkage = _shrinkage(scaled, weights, measured)
    correlation: Floats = (1.0 - shrinkage) * measured
    np.fill_diagonal(correlation, 1.0)
    spread = shares * deviation
    sigma = math.sqrt(max(float(spread @ correlation @ spread), 0.0))
    return Risk(
        value_at_risk=QUANTILE * sigma,
        expected_shortfall=SHORTFALL * sigma,
        shrinkage=shrinkage,
        correlation=correlation,
    )


def _shrinkage(scaled: Floats, weights: Floats, measured: Floats) -> float:
    """Summed variance of the measured correlations, over their summed squares."""
    apart = ~np.eye(len(measured), dtype=np.bool_)
    squares = float((measured[apart] ** 2).sum())
    if not squares:
        return 1.0
    products = scaled[:, :, None] * scaled[:, None, :]
    spread = np.einsum("t,tij->ij", weights, (products - measured) ** 2)
    concentration = float(weights @ weights)
    variance = spread * concentration / (1.0 - concentration)
    return min(1.0, float(variance[apart].sum()) / squares)
