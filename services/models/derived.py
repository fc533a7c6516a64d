"""The columns that feature sets of plug-ins derive from feature rows, for fits and forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from domain.events import Examples, Floats
from domain.past import Past
from services.models.explanation import Explanation
from services.models.forecaster import Forecaster, Table
from services.models.kinds import FeatureKind


def set_id(features: FeatureKind) -> str:
    """As recipes name it: `tempo@1`."""
    return f"{features.name}@{features.version}"


def columns_of(sets: Sequence[FeatureKind]) -> tuple[str, ...]:
    """The names of their columns: `tempo.range_share`."""
    return tuple(f"{one.name}.{column}" for one in sets for column in one.formulas)


def derive(table: Table, sets: Sequence[FeatureKind]) -> Floats:
    """Their columns of the rows of `table`, shape (n, columns)."""
    return np.hstack([one.compute(table.select(one.reads)) for one in sets])


def with_derived(examples: Examples, sets: Sequence[FeatureKind]) -> Examples:
    """The examples with those columns after their own."""
    if not sets:
        return examples
    return replace(
        examples,
        columns=examples.columns + columns_of(sets),
        features=np.hstack((examples.features, derive(Table.of(examples), sets))),
        past=examples.past and past_derived(examples.past, sets),
    )


def past_derived(past: Past, sets: Sequence[FeatureKind]) -> Past:
    """What was before, with those columns after its own."""
    derived = derive(Table(past.columns, past.rows), sets)
    return replace(
        past, columns=past.columns + columns_of(sets), rows=np.hstack((past.rows, derived))
    )


class Deriving(Forecaster):
    """A model of derived columns, which come beside each row before it is asked."""

    def __init__(self, model: Forecaster, sets: Sequence[FeatureKind]) -> None:
        super().__init__(
            kind=model.name.partition(".")[0],
            target=model.target,
            horizon=model.horizon,
            version=model.version,
        )
        self._model, self._sets = model, tuple(sets)
        self.past = model.past

    def forecast(self, table: Table) -> Floats:
        return self._model.forecast(self._wider(table))

    def explain(self, table: Table) -> Explanation | None:
        return self._model.explain(self._wider(table))

    def _wider(self, table: Table) -> Table:
        names, told = table.told
        derived = derive(table, self._sets)
        beside = np.hstack((told, derived)) if names else derived
        past = table.past and past_derived(table.past, self._sets)
        return replace(table, told=(names + columns_of(self._sets), beside), past=past)
