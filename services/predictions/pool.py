"""The online pool: members weighted by how they scored lately, none ever forgotten.

Weights follow the exponentially weighted forecaster with fixed share (Herbster and
Warmuth 1998): log w ← λ log w − η · loss, then a share of all weight is spread evenly.
Losses are one mean over instruments per tick, because instruments move together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from domain.events import Bools, Floats

SHARE = 0.002  # spread evenly at each update: a member at the floor recovers within weeks
HOT_WEIGHT = 0.02  # below it a member leaves the hot path
EFFECTIVE_INSTRUMENTS = 3.0  # what a cross-section is worth in independent observations


class Pool:
    """Weights over the members of one target at one horizon.

    Args:
        horizon: candles; consecutive losses overlap by it, so each counts 1/horizon.
        discount: per tick, of past evidence.
        rate: nats per unit of loss (1 for log loss; ½ for QLIKE, which is twice a
            Gaussian log loss).
    """

    def __init__(self, *, horizon: int, discount: float, rate: float) -> None:
        self._horizon = horizon
        self._discount = discount
        self._rate = rate
        self._evidence: dict[str, float] = {}  # log weights, unnormalised
        self._known: dict[tuple[str, ...], Floats] = {}  # answers until the evidence changes

    def weights(self, members: Sequence[str]) -> Floats:
        """Weights of `members`, summing to 1; a member never scored stands at the mean."""
        asked = tuple(members)
        if asked not in self._known:
            self._known[asked] = self._weigh(asked)
        return self._known[asked]

    def learn(self, losses: Mapping[str, Floats]) -> None:
        """One tick's losses per member, arrays over the same instruments.

        Members are compared on the instruments that all of them judged; a tick on
        which they share none teaches nothing.
        """
        if len(losses) < 2:  # noqa: PLR2004 - one member has nothing to be compared with
            return
        names = list(losses)
        table = np.vstack([losses[name] for name in names])
        table = table[:, np.isfinite(table).all(axis=0)]
        if not table.shape[1]:
            return
        observations = min(table.shape[1], EFFECTIVE_INSTRUMENTS) / self._horizon
        prior = np.log(self.weights(names))
        logs = self._discount * prior - self._rate * observations * table.mean(axis=1)
        logs -= logs.max()
        self._evidence.update(zip(names, logs.tolist(), strict=True))
        self._known.clear()

    def seed(self, weights: Mapping[str, float]) -> None:
        """Take weights earned elsewhere (a locked holdout) for members not yet scored."""
        floor = SHARE / max(len(weights), 1)
        for name, weight in weights.items():
            self._evidence[name] = float(np.log(max(weight, floor)))
        self._known.clear()

    def state(self) -> dict[str, Any]:
        return {"evidence": self._evidence}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._evidence = dict(state["evidence"])
        self._known.clear()

    def _weigh(self, members: tuple[str, ...]) -> Floats:
        if not members:
            return np.empty(0)
        known = [self._evidence[name] for name in members if name in self._evidence]
        start = float(np.mean(known)) if known else 0.0
        logs = np.array([self._evidence.get(name, start) for name in members])
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        shared: Floats = np.asarray((1 - SHARE) * weights + SHARE / len(members))
        shared.flags.writeable = False
        return shared


def pool_probabilities(forecasts: Sequence[Floats], weights: Floats) -> Floats:
    """Logarithmic opinion pool of (n, 3) forecasts; members that are NaN on a row sit it out."""
    stack = np.stack(forecasts)
    judged: Bools = np.asarray(np.isfinite(stack).all(axis=2))
    shares = _shares(judged, weights)
    logs = np.log(np.where(judged[:, :, None], np.clip(stack, 1e-12, 1.0), 1.0))
    pooled = np.exp((shares[:, :, None] * logs).sum(axis=0))
    pooled[~judged.any(axis=0)] = np.nan
    return np.asarray(pooled / pooled.sum(axis=1, keepdims=True))


def pool_volatility(forecasts: Sequence[Floats], weights: Floats) -> Floats:
    """Weighted geometric mean of (n,) standard deviations."""
    stack = np.stack(forecasts)
    judged = np.isfinite(stack) & (stack > 0)
    logs = np.log(np.where(judged, stack, 1.0))
    pooled = np.exp((_shares(judged, weights) * logs).sum(axis=0))
    return np.where(judged.any(axis=0), pooled, np.nan)


def pool_quantiles(forecasts: Sequence[Floats], weights: Floats) -> Floats:
    """Weighted mean of (n, 3) quantiles, level by level (Vincentization)."""
    stack = np.stack(forecasts)
    judged: Bools = np.asarray(np.isfinite(stack).all(axis=2))
    shares = _shares(judged, weights)
    pooled = (shares[:, :, None] * np.where(judged[:, :, None], stack, 0.0)).sum(axis=0)
    pooled[~judged.any(axis=0)] = np.nan
    return np.asarray(pooled)


def _shares(judged: Bools, weights: Floats) -> Floats:
    """(members, n) weights renormalised over the members that judged each row."""
    shares = judged * weights[:, None]
    total = shares.sum(axis=0)
    return np.asarray(shares / np.where(total > 0, total, 1.0))
