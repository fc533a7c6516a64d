"""The kinds of model that there are: those of this release, and what plug-ins add to them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from services.models.boosters import CATBOOST, LIGHTGBM, XGBOOST
from services.models.derived import set_id
from services.models.kinds import FeatureKind, FittedKind, OnlineKind, Part
from services.models.logistic import LOGISTIC
from services.models.recipes import Recipe
from services.models.river_kind import RIVER


@dataclass(frozen=True)
class Catalogue:
    """Kinds by name; the order is that of their fits.

    Args:
        fitted: kinds with artifacts.
        online: kinds that learn with each label.
        features: sets that plug-ins derive from feature rows.
        candles: sets of plug-ins that candles are made into, by their ids.
        providers: kind → the package or file that a plug-in came from, and its version.
    """

    fitted: tuple[FittedKind, ...]
    online: tuple[OnlineKind, ...]
    features: tuple[FeatureKind, ...] = ()
    candles: Mapping[str, Part] = field(default_factory=dict)
    providers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> Mapping[str, FittedKind]:
        """Fitted kinds by name."""
        return {kind.name: kind for kind in self.fitted}

    @cached_property
    def recipes(self) -> Mapping[str, Recipe]:
        """Of every fitted kind and target, by name."""
        return {recipe.name: recipe for kind in self.fitted for recipe in kind.recipes}

    @cached_property
    def learners(self) -> Mapping[str, OnlineKind]:
        """Online kinds by the names of their models."""
        return {f"{kind.name}.{kind.target}": kind for kind in self.online}

    @property
    def parts(self) -> tuple[FittedKind | OnlineKind | FeatureKind, ...]:
        """Everything that has a name here."""
        return (*self.fitted, *self.online, *self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all models of these kinds."""
        return (*self.recipes, *self.learners)

    def sets(self, wanted: Sequence[str]) -> tuple[FeatureKind, ...]:
        """The feature sets that a recipe names.

        Raises:
            KeyError: one is not here, or in another version.
        """
        known = {set_id(one): one for one in self.features}
        return tuple(known[one] for one in wanted)

    def altered(self, environment: Mapping[str, str]) -> str:
        """Which plug-in of a fit's environment is another now, in words; empty: none is.

        Its code says what the fitted model says, and is no part of the artifact.
        """
        now = {name: one for provider in self.providers.values() for name, one in provider.items()}
        changed = [name for name, one in environment.items() if now.get(name, one) != one]
        return f"{changed[0]} is not what it was when this was fitted" if changed else ""

    def environment(self, recipe: Recipe) -> dict[str, str]:
        """The versions that a fit by `recipe` depends on."""
        parts: list[Part] = [self.kinds[recipe.kind], *self.sets(recipe.features)]
        parts += [self.candles[recipe.candles]] if recipe.candles else []
        distributions = ["numpy", *(name for part in parts for name in part.distributions)]
        found = {name: importlib.metadata.version(name) for name in distributions}
        for part in parts:
            found |= self.providers.get(part.name, {})
        return found


# The slowest fits first: workers that begin with the long ones end at about the same time.
BUILT_IN = Catalogue(fitted=(CATBOOST, LIGHTGBM, XGBOOST, LOGISTIC), online=(RIVER,))
