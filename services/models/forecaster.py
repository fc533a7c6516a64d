"""What every model of this room shares: its name, and reading its columns by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from domain.events import LARGEST, Examples, FeatureBatch, Floats, Ints, Target
from domain.past import Past
from services.models.dissimilarity import Reference
from services.models.explanation import Explanation
from services.models.sequences import Sequences

EWMA_VARIANCE = "ewma_variance"  # of one candle's log return


@lru_cache(maxsize=256)
def positions(columns: tuple[str, ...], wanted: tuple[str, ...]) -> Ints:
    """Where each of `wanted` stands in `columns`.

    Raises:
        KeyError: `columns` lacks one of them.
    """
    where = {column: index for index, column in enumerate(columns)}
    return np.array([where[column] for column in wanted], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Feature rows with the names of their columns.

    What sources told of them may be an array of its own: most models never read it.
    """

    columns: tuple[str, ...]
    values: Floats  # (n, len(columns))
    told: tuple[tuple[str, ...], Floats] = ((), np.empty((0, 0)))  # more columns
    past: Past | None = None  # of its rows; None: nothing is known of it

    @classmethod
    def of(cls, source: FeatureBatch | Examples) -> Table:
        if isinstance(source, Examples):
            return cls(source.columns, source.features, past=source.past)
        columns, values = source.feature_set.columns, source.values
        if source.told is None:
            return cls(columns, values)
        return cls(columns, values, (source.told.feature_set.columns, source.told.values))

    def __len__(self) -> int:
        return len(self.values)

    def select(self, names: tuple[str, ...]) -> Floats:
        """A copy of the columns `names`, shape (n, len(names)).

        What is infinite or beyond ±1e12 is no measurement, and NaN.
        """
        more, told = self.told
        where = positions(self.columns + more, names)
        here = where < len(self.columns)
        if here.all():
            chosen: Floats = self.values[:, where]
        else:
            chosen = np.empty((len(self), len(names)))
            chosen[:, here] = self.values[:, where[here]]
            chosen[:, ~here] = told[:, where[~here] - len(self.columns)]
        chosen[~(np.abs(chosen) <= LARGEST)] = np.nan
        return chosen

    def sequences(self, names: tuple[str, ...], candles: int) -> Sequences:
        """The columns `names` of each row and of so many candles before it; NaN: not known."""
        own, unknown = self.select(names), np.full((1, len(names)), np.nan)
        places = np.full((len(own), candles + 1), -1, dtype=np.int64)
        places[:, -1] = np.arange(len(own))
        if self.past is None:
            return Sequences(np.concatenate((own, unknown)), places)
        before = Table(self.past.columns, self.past.rows).select(names)
        kept = self.past.places[:, -candles:] if candles else self.past.places[:, :0]
        places[:, candles - kept.shape[1] : candles] = np.where(kept >= 0, kept + len(own), -1)
        return Sequences(np.concatenate((own, before, unknown)), places)

    def ewma_sigma(self, horizon: int) -> Floats:
        """√(EWMA variance × horizon), shape (n,); NaN unless it is above 0."""
        variance = self.select((EWMA_VARIANCE,))[:, 0]
        return np.sqrt(np.where(variance > 0, variance * horizon, np.nan))


class Forecaster(ABC):
    """A model whose forecast is a function of feature rows alone."""

    def __init__(self, *, kind: str, target: Target, horizon: int, version: str) -> None:
        self._kind = kind
        self._target = target
        self._version = version
        self.horizon = horizon  # candles
        self.reference: Reference | None = None  # to the rows that it was fitted on
        self.past = 0  # candles before a row that it reads
        self.candles = ""  # the candle feature set that it reads, as recipes name it

    @property
    def name(self) -> str:
        return f"{self._kind}.{self._target}"

    @property
    def version(self) -> str:
        return self._version

    @property
    def target(self) -> Target:
        return self._target

    def predict(self, features: FeatureBatch) -> Floats:
        """See `domain.ports.Model.predict`."""
        return self.forecast(Table.of(features))

    def predict_after(self, features: FeatureBatch, past: Past) -> Floats:
        """See `domain.ports.Sequential`."""
        return self.forecast(replace(Table.of(features), past=past))

    def dissimilarity(self, features: FeatureBatch) -> Floats:
        """See `domain.ports.Referenced`."""
        if self.reference is None:
            return np.full(len(features), np.nan)
        return self.reference.dissimilarity(Table.of(features).select(self.reference.columns))

    @abstractmethod
    def forecast(self, table: Table) -> Floats:
        """`predict` on rows that need not be of one tick."""

    def explain(self, table: Table) -> Explanation | None:
        """What its features add to its raw scores, of at least one row; None: it cannot tell."""
        del table
        return None


class FittedForecaster(Forecaster):
    """A forecaster that was fitted: what it is and reads stands in its artifact's description."""

    def __init__(self, description: Mapping[str, Any], version: str) -> None:
        super().__init__(
            kind=description["kind"],
            target=Target(description["target"]),
            horizon=description["horizon"],
            version=version,
        )
        self._columns: tuple[str, ...] = tuple(description["columns"])
