"""What each feature adds to a model's raw scores, and what matters over many rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.events import QUANTILE_LEVELS, Floats, Target
from services.models.sample import softmax

OUTPUTS: Final = {
    Target.DIRECTION: ("p_down", "p_flat", "p_up"),
    Target.QUANTILES: tuple(f"q{round(100 * level)}" for level in QUANTILE_LEVELS),
    Target.VOLATILITY: ("volatility",),
}
TREE_SHAP: Final = "tree_shap"  # exact, path-dependent: Lundberg et al. 2020, Algorithm 2
LINEAR: Final = "linear"  # coefficient × the value as the model scales it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Of n rows: each margin is its base and the contributions together, within 1e-4.

    `reference` is what margins are relative to. Of quantiles it is EWMA's σ over the horizon,
    of volatility the ln of the variance by log-HAR with EWMA, its bias included.
    """

    target: Target
    method: str
    features: tuple[str, ...]  # (k,)
    values: Floats  # (n, k) as the row has them; NaN = unknown
    base: Floats  # (n, outputs) what is said where nothing is known of the features
    contributions: Floats  # (n, outputs, k)
    margin: Floats  # (n, outputs) the raw scores that serve
    reference: Floats | None = None  # (n,)

    def forecast(self) -> Floats:
        """What is forecast with these margins; a model abstains beyond that."""
        if self.target is Target.DIRECTION:
            return softmax(self.margin)
        if self.reference is None:
            raise ValueError(f"margins of {self.target} are relative to something")
        if self.target is Target.QUANTILES:
            return np.asarray(np.sort(self.margin, axis=1) * self.reference[:, None])
        return np.asarray(np.exp((self.margin[:, 0] + self.reference) / 2))

    def importance(self) -> dict[str, float]:
        """Mean |contribution| over rows and outputs, the largest first."""
        means = np.abs(self.contributions).mean(axis=(0, 1))
        order = np.argsort(-means, kind="stable")
        return {self.features[place]: float(means[place]) for place in order}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearMap:
    """Margins that are `scaled @ slopes.T + levels`."""

    features: tuple[str, ...]  # (k,)
    slopes: Floats  # (outputs, k)
    levels: Floats  # (outputs,)

    def explain(
        self, target: Target, values: Floats, scaled: Floats, reference: Floats | None = None
    ) -> Explanation:
        """Of rows with `values` (n, k), which the model reads as `scaled` (n, k)."""
        return Explanation(
            target=target,
            method=LINEAR,
            features=self.features,
            values=values,
            base=np.tile(self.levels, (len(values), 1)),
            contributions=scaled[:, None, :] * self.slopes,
            margin=scaled @ self.slopes.T + self.levels,
            reference=reference,
        )
