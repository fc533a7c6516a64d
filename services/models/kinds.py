"""The ports of models: kinds that are fitted, kinds that learn with each label, and features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from domain.events import Examples, Floats, Target
from domain.ports import Learner
from services.models.forecaster import Forecaster
from services.models.recipes import Recipe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """What a fit leaves, in formats that run nothing when they are read."""

    numbers: Mapping[str, Any] = field(default_factory=dict)  # JSON without NaN
    files: Mapping[str, bytes] = field(default_factory=dict)  # name → a library's own format


class Part(Protocol):
    """What a fit depends on beside its kind."""

    @property
    def name(self) -> str: ...

    @property
    def distributions(self) -> tuple[str, ...]:
        """The packages whose versions it depends on, numpy aside."""
        ...


@runtime_checkable
class FittedKind(Protocol):
    """A kind of model that is fitted in a worker process and kept as an artifact.

    The artifact is a bundle: of `Fitted`, beside it kind, target, horizon and columns.
    """

    @property
    def name(self) -> str:
        """First part of its models' names: `lightgbm` of `lightgbm.direction`."""
        ...

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """One for each target that it forecasts."""
        ...

    @property
    def distributions(self) -> tuple[str, ...]:
        """The packages whose versions a fit depends on, numpy aside."""
        ...

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        """Fit `columns` of `examples`; the same arguments give the same bytes.

        Args:
            examples: (m,) all that may be learnt from; a value that is not finite is unknown.
            columns: the model columns of the feature set.
            recipe: one of `recipes`, perhaps with other values.
            horizon: in candles.
            seed: of all that is drawn.

        Raises:
            ValueError: no row can be used.
        """
        ...

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        """The model again.

        Args:
            description: `Fitted.numbers` with `kind`, `target`, `horizon` and `columns`.
            files: as fitted.
            version: by which it is known from now on.

        Raises:
            ArtifactError: a file cannot be read.
            KeyError, ValueError: the description is not whole.
        """
        ...


@runtime_checkable
class OnDevices(Protocol):
    """What a fitted kind has beside the rest whose recipes have a parameter `device`.

    A fit finds `cpu` or `cuda` there, and on cuda need not give the same bytes twice.
    """

    def without_cuda(self) -> str:
        """Why its library can use no GPU here, in words; empty where it can."""
        ...


@runtime_checkable
class OnlineKind(Protocol):
    """A kind of model that learns each label as it becomes known; it has no artifact."""

    @property
    def name(self) -> str:
        """First part of its model's name: `river` of `river.direction`."""
        ...

    @property
    def target(self) -> Target: ...

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads of `ohlcv@1`: its cost at each close grows with their number."""
        ...

    @property
    def distributions(self) -> tuple[str, ...]:
        """The packages whose versions what it learns depends on, numpy aside."""
        ...

    def begin(self, columns: tuple[str, ...], horizon: int) -> Learner:
        """A learner that has learnt nothing, of `columns`; its snapshots run nothing when read."""
        ...


@runtime_checkable
class FeatureKind(Protocol):
    """A feature set that is a function of each feature row alone.

    It is computed where a row is fitted and where it is forecast, by the same call: what it
    says rests on the stored row, and can be told again from it.
    """

    @property
    def name(self) -> str:
        """Before the point in its columns' names: `tempo` of `tempo.range_share`."""
        ...

    @property
    def version(self) -> int:
        """Another formula is another version."""
        ...

    @property
    def formulas(self) -> Mapping[str, str]:
        """What it adds: column → formula, with its source."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of `ohlcv@1` or `sentiment@1`."""
        ...

    @property
    def distributions(self) -> tuple[str, ...]:
        """The packages whose versions its values depend on, numpy aside."""
        ...

    def compute(self, inputs: Floats) -> Floats:
        """(n, columns) of `inputs` (n, reads); NaN where it is not known, and never infinite.

        A row depends on that row alone.
        """
        ...
