"""The three boosting libraries as kinds of model, with their recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions
from typing import Any, Final

from domain.events import Examples, Target
from services.models.boosted import (
    BoostedDirection,
    BoostedQuantiles,
    BoostedVolatility,
    fit_direction,
    fit_quantiles,
    fit_volatility,
)
from services.models.devices import DEVICE, WITHOUT_CUDA
from services.models.engines import TreeParameters
from services.models.forecaster import Forecaster
from services.models.kinds import Fitted
from services.models.recipes import Recipe
from services.models.space import Range

_FIT: Final[Mapping[Target, Callable[..., Fitted]]] = {
    Target.DIRECTION: fit_direction,
    Target.VOLATILITY: fit_volatility,
    Target.QUANTILES: fit_quantiles,
}
_OPEN: Final[Mapping[Target, Callable[..., Forecaster]]] = {
    Target.DIRECTION: BoostedDirection,
    Target.VOLATILITY: BoostedVolatility,
    Target.QUANTILES: BoostedQuantiles,
}


@dataclass(frozen=True, slots=True)
class BoosterKind:
    """One of `ENGINES`, for those targets that it has a recipe of."""

    name: str
    recipes: tuple[Recipe, ...]
    distributions: tuple[str, ...]
    space: Mapping[str, Range] = field(default_factory=dict, kw_only=True)

    def without_cuda(self) -> str:
        return WITHOUT_CUDA[self.name]()

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        return _FIT[recipe.target](examples, columns, recipe, horizon, seed)

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        return _OPEN[Target(description["target"])](description, files, version)


# More and deeper trees forecast slower than a tick may take.
SPACE: Final[Mapping[str, Range]] = {
    "trees": Range(low=30, high=200, log=True, whole=True, least=1),
    "learning_rate": Range(low=0.01, high=0.2, log=True, least=1e-6, most=1.0),
    "depth": Range(low=2, high=6, whole=True, least=1, most=16),
    "feature_fraction": Range(low=0.2, high=1.0, least=0.01, most=1.0),
    "row_fraction": Range(low=0.4, high=1.0, least=0.01, most=1.0),
    "l2": Range(low=1.0, high=100.0, log=True),
}
LEAVES: Final = Range(low=50.0, high=800.0, log=True)
HESSIANS: Final = Range(low=10.0, high=400.0, log=True)


def _booster(
    name: str,
    recipes: Mapping[Target, TreeParameters],
    *,
    distribution: str | None = None,
    min_child: Range | None = None,
) -> BoosterKind:
    return BoosterKind(
        name=name,
        recipes=tuple(
            Recipe(kind=name, target=target, parameters=_written(name, parameters))
            for target, parameters in recipes.items()
        ),
        distributions=(distribution or name,),
        space=SPACE if min_child is None else {**SPACE, "min_child": min_child},
    )


def _written(name: str, parameters: TreeParameters) -> dict[str, Any]:
    """As a recipe has them: a device where the library can choose."""
    chosen = asdict(parameters)
    return chosen if name in WITHOUT_CUDA else {k: v for k, v in chosen.items() if k != DEVICE}


def _installed(*names: str) -> str:
    """The first of packages with the same library that is there, else the first."""
    there = (name for name in names if any(distributions(name=name)))
    return next(there, names[0])


CATBOOST: Final = _booster(
    "catboost",
    {
        Target.DIRECTION: TreeParameters(trees=150, learning_rate=0.08),
        Target.VOLATILITY: TreeParameters(trees=150),
    },
)
LIGHTGBM: Final = _booster(
    "lightgbm",
    {
        Target.QUANTILES: TreeParameters(),
        Target.DIRECTION: TreeParameters(trees=70, learning_rate=0.08),
        Target.VOLATILITY: TreeParameters(),
    },
    min_child=LEAVES,
)
XGBOOST: Final = _booster(
    "xgboost",
    {
        # Three trees a round: fewer rounds keep 500 rows within 3 ms.
        Target.DIRECTION: TreeParameters(trees=70, learning_rate=0.08, min_child=50.0),
        Target.VOLATILITY: TreeParameters(),
    },
    distribution=_installed("xgboost-cpu", "xgboost"),  # the second has GPUs
    min_child=HESSIANS,
)
