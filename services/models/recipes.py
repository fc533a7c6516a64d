"""The parameters of every fitted model, written once; a recipe's hash is its identity."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from domain.events import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one kind is fitted for one target. Labels overlap, so leaves are large."""

    kind: str  # logistic, xgboost, lightgbm, catboost
    target: Target
    trees: int = 100  # boosting rounds
    learning_rate: float = 0.05
    depth: int = 4
    min_child: float = 200.0  # rows in a leaf; for xgboost the sum of hessians
    feature_fraction: float = 0.5
    row_fraction: float = 0.7
    l2: float = 10.0

    @property
    def sha256(self) -> str:
        content = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


def _recipes() -> tuple[Recipe, ...]:
    direction, volatility, quantiles = Target.DIRECTION, Target.VOLATILITY, Target.QUANTILES
    # The slowest fit first: workers that begin with the long ones end at about the same time.
    return (
        Recipe(kind="catboost", target=direction, trees=150, learning_rate=0.08),
        Recipe(kind="lightgbm", target=quantiles),
        # Three trees a round: fewer rounds keep 500 rows within 3 ms.
        Recipe(kind="xgboost", target=direction, trees=70, learning_rate=0.08, min_child=50.0),
        # l2 is the precision of the normal prior on standardised coefficients.
        Recipe(kind="logistic", target=direction, l2=100.0),
        Recipe(kind="lightgbm", target=direction, trees=70, learning_rate=0.08),
        Recipe(kind="catboost", target=volatility, trees=150),
        Recipe(kind="xgboost", target=volatility),
        Recipe(kind="lightgbm", target=volatility),
    )


RECIPES = {(recipe.target, recipe.kind): recipe for recipe in _recipes()}
