"""A variant: a kind of the catalogue with other parameters, under a name of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from domain.errors import UnknownNameError, UsageError
from domain.events import Examples, Floats, Target
from domain.losses import BASELINE_NAMES
from services.models.catalogue import Catalogue
from services.models.explanation import Explanation
from services.models.forecaster import Forecaster, Table
from services.models.kinds import Fitted, FittedKind, OnDevices
from services.models.recipes import LONGEST_PAST, PAST, Recipe
from services.models.space import Searchable

Value = int | float | str
# By those that are in every catalogue: `pool.direction` is what is served, not a model of a kind.
TAKEN: Final = {"pool", *(name.partition(".")[0] for name in BASELINE_NAMES)}
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class UnknownParameterError(UnknownNameError):
    """A parameter that the recipe of a kind does not have."""

    noun = "parameter"


class UnknownKindError(UnknownNameError):
    """A kind that is not in the catalogue."""

    noun = "kind of model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What settings say of one; worker processes are told it.

    Args:
        name: of its models: `deep` of `deep.volatility`.
        kind: that it varies.
        n_trials: how many were tried before it was chosen, itself among them.
        parameters: those that differ, of each target that it forecasts.
    """

    name: str
    kind: str
    n_trials: int
    parameters: tuple[tuple[Target, tuple[tuple[str, Value], ...]], ...]

    @classmethod
    def of(
        cls, name: str, kind: str, n_trials: int, differing: Mapping[str, Mapping[str, Value]]
    ) -> Variant:
        """From parameters by target."""
        parameters = tuple(
            (Target(one), tuple(chosen.items())) for one, chosen in differing.items()
        )
        return cls(name=name, kind=kind, n_trials=n_trials, parameters=parameters)

    @property
    def models(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(f"{self.name}.{target}" for target, _ in self.parameters)

    @property
    def varied(self) -> tuple[str, ...]:
        """The names of those that they vary."""
        return tuple(f"{self.kind}.{target}" for target, _ in self.parameters)


@dataclass(frozen=True, slots=True)
class VariantKind:
    """A kind that has another do its work."""

    name: str
    recipes: tuple[Recipe, ...]
    varied: FittedKind

    @property
    def distributions(self) -> tuple[str, ...]:
        return self.varied.distributions

    def without_cuda(self) -> str:
        varied = self.varied
        return varied.without_cuda() if isinstance(varied, OnDevices) else "it has no device"

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        theirs = replace(recipe, kind=self.varied.name)
        return self.varied.fit(examples, columns, theirs, horizon, seed)

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        theirs = {**description, "kind": self.varied.name}
        return _Renamed(self.name, self.varied.open(theirs, files, version))


class _Renamed(Forecaster):
    """A model under another name."""

    def __init__(self, kind: str, model: Forecaster) -> None:
        super().__init__(
            kind=kind, target=model.target, horizon=model.horizon, version=model.version
        )
        self._model = model
        self.past = model.past

    def forecast(self, table: Table) -> Floats:
        return self._model.forecast(table)

    def explain(self, table: Table) -> Explanation | None:
        return self._model.explain(table)


def with_variant(catalogue: Catalogue, variant: Variant) -> Catalogue:
    """The catalogue with a variant as one kind more.

    Raises:
        UsageError: its name is taken or none, it varies a variant or a target that its kind
            does not forecast, or a value cannot be.
        UnknownKindError, UnknownParameterError: there is no such kind, or no such parameter.
    """
    if not variant.parameters:
        raise UsageError(
            f"variant {variant.name}: it names no target, as volatility = {{ depth = 3 }}"
        )
    if not _NAME.fullmatch(variant.name):
        raise UsageError(f"variant {variant.name!r}: name it in small letters, digits and _")
    if variant.name in TAKEN | {one.name for one in catalogue.parts}:
        raise UsageError(f"variant {variant.name}: that name is taken")
    kind = catalogue.kinds.get(variant.kind)
    if kind is None:
        raise UnknownKindError(variant.kind, catalogue.kinds)
    if isinstance(kind, VariantKind):
        raise UsageError(f"variant {variant.name}: {kind.name} is a variant: vary its kind")
    recipes = tuple(
        replace(_recipe(kind, variant, target, dict(parameters)), kind=variant.name)
        for target, parameters in variant.parameters
    )
    ours = VariantKind(variant.name, recipes, kind)
    provider = {variant.name: catalogue.providers.get(kind.name, {})}
    return replace(
        catalogue,
        fitted=(*catalogue.fitted, ours),
        providers={**catalogue.providers, **provider},
    )


def _recipe(
    kind: FittedKind, variant: Variant, target: Target, parameters: Mapping[str, Value]
) -> Recipe:
    found = [one for one in kind.recipes if one.target is target]
    if not found:
        raise UsageError(f"variant {variant.name}: {kind.name} does not forecast {target}")
    (recipe,) = found
    place = f"{variant.name}.{target}"
    for name in parameters:
        if name not in recipe.parameters:
            known = [f"{place}.{one}" for one in recipe.parameters]
            raise UnknownParameterError(f"{place}.{name}", known)
    ranges = kind.space if isinstance(kind, Searchable) else {}
    chosen = {
        name: _value(f"{place}.{name}", value, recipe.parameters[name])
        for name, value in parameters.items()
    }
    for name in chosen.keys() & ranges.keys():
        if refusal := ranges[name].refusal(chosen[name]):
            raise UsageError(f"{place}.{name}: {refusal}")
    varied = replace(recipe.changed(**chosen), n_trials=variant.n_trials)
    if PAST in chosen and not 1 <= varied.past <= LONGEST_PAST:
        raise UsageError(f"{place}.{PAST} = {chosen[PAST]}: it is 1 to {LONGEST_PAST} candles")
    return varied


def _value(place: str, value: Value, usual: Value) -> Any:  # noqa: ANN401 - as in JSON
    """The value as the recipe has it: of the type of the one that it takes the place of."""
    if isinstance(usual, str) or isinstance(value, str):
        if isinstance(value, type(usual)):
            return value
    elif math.isfinite(value) and (not isinstance(usual, int) or value == int(value)):
        return type(usual)(value)
    wanted = {int: "a whole number", float: "a number"}.get(type(usual), "a word")
    raise UsageError(f"{place} = {value!r}: it is {wanted}, like {usual!r}")
