"""Columns that a plug-in derives: the same for fits and forecasts, and named in the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from alphapulse_testing.panel import (
    EXAMPLES,
    HORIZON,
    HOUR_MS,
    MODEL_COLUMNS,
    PANEL,
    new_rows,
    panel_batch,
    past_of,
)
from domain.errors import ArtifactError
from domain.events import FeatureSet, Floats, SentimentBatch, Target
from services.models.artifacts import open_model
from services.models.bundle import read_bundle
from services.models.catalogue import BUILT_IN, Catalogue
from services.models.derived import Deriving, columns_of, derive, with_derived
from services.models.fitting import FitTask, fit
from services.models.forecaster import Forecaster, Table
from services.models.walk_forward import SplitKind


@dataclass(frozen=True)
class Squares:
    """The square of one column."""

    name: str = "squares"
    version: int = 1
    formulas: Mapping[str, str] = field(default_factory=lambda: {"of_tilt": "tilt²"})
    reads: tuple[str, ...] = ("tilt",)
    distributions: tuple[str, ...] = ("scipy",)

    def compute(self, inputs: Floats) -> Floats:
        squared: Floats = inputs**2
        return squared


SQUARES = Squares()
WITH = replace(BUILT_IN, features=(SQUARES,), providers={"squares": {"a package": "2.1"}})
RECIPE = replace(BUILT_IN.recipes["logistic.direction"], features=("squares@1",))
TASK = FitTask(
    recipe=RECIPE,
    horizon=HORIZON,
    horizon_ms=HORIZON * HOUR_MS,
    columns=MODEL_COLUMNS,
    examples=EXAMPLES,
    split=SplitKind.LEAN,
    seed=7,
)
DERIVED = "squares.of_tilt"


def with_column() -> FitTask:
    """The same fit, on rows that have the column."""
    squared = EXAMPLES.features[:, PANEL.columns.index("tilt")] ** 2
    rows = replace(
        EXAMPLES,
        columns=(*EXAMPLES.columns, DERIVED),
        features=np.column_stack((EXAMPLES.features, squared)),
    )
    plain = replace(RECIPE, features=())
    return replace(TASK, recipe=plain, columns=(*MODEL_COLUMNS, DERIVED), examples=rows)


def test_a_fit_on_derived_columns_is_that_on_rows_which_have_them() -> None:
    derived, stored = fit(TASK, WITH), fit(with_column())

    ours, files = read_bundle(derived.artifact)
    theirs, same = read_bundle(stored.artifact)
    assert ours.pop("features") == ["squares@1"]
    assert DERIVED not in ours.pop("reference")["columns"]
    assert DERIVED in theirs.pop("reference")["columns"]
    assert (ours, files) == (theirs, same)
    assert np.array_equal(derived.judged.forecast, stored.judged.forecast)
    assert derived.recipe_sha256 != stored.recipe_sha256


def test_a_forecast_derives_them_from_its_row() -> None:
    model = open_model(fit(TASK, WITH).artifact, "4", WITH)
    plain = open_model(fit(with_column()).artifact, "4")
    batch = new_rows()
    squared = batch.values[:, [PANEL.columns.index("tilt")]] ** 2
    wider = Table((*PANEL.columns, DERIVED), np.hstack((batch.values, squared)))

    assert (model.name, model.version) == ("logistic.direction", "4")
    assert np.array_equal(model.predict(batch), plain.forecast(wider))


def test_what_sources_told_stays_beside_them() -> None:
    told = FeatureSet(name="told", version=1, columns=("mood",), model_columns=(), warmup_bars=0)
    batch = panel_batch(new_rows().values[:3])
    beside = SentimentBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=batch.instruments,
        feature_set=told,
        values=np.array([[3.0], [-4.0], [np.nan]]),
        revision=batch.revision,
        known_at=batch.known_at,
        status={},
    )
    both = replace(SQUARES, reads=("mood",))
    model = open_model(fit(TASK, WITH).artifact, "1", WITH)

    table = Table.of(replace(batch, told=beside))

    assert derive(table, (SQUARES, both)).shape == (3, 2)
    assert np.array_equal(derive(table, (both,))[:2, 0], [9.0, 16.0])
    assert np.array_equal(model.forecast(table), model.predict(batch))


@pytest.mark.parametrize(
    "catalogue", [BUILT_IN, replace(WITH, features=(replace(SQUARES, version=2),))]
)
def test_a_model_whose_features_are_switched_off_or_others_is_refused(catalogue: Catalogue) -> None:
    artifact = fit(TASK, WITH).artifact

    with pytest.raises(ArtifactError, match=r"unknown feature set 'squares@1'; a plug-in may be"):
        open_model(artifact, "1", catalogue)


def test_the_environment_names_the_sets_and_what_they_stand_on() -> None:
    libraries = fit(TASK, WITH).libraries

    assert libraries["a package"] == "2.1"
    assert libraries.keys() == {"numpy", "scikit-learn", "scipy", "a package"}
    assert columns_of((SQUARES,)) == (DERIVED,)


def test_derived_columns_are_explained_beside_stored_ones() -> None:
    model = open_model(fit(TASK, WITH).artifact, "1", WITH)
    rows = Table.of(new_rows())

    explanation = model.explain(rows)

    assert explanation is not None
    assert explanation.features == (*MODEL_COLUMNS, DERIVED)
    assert np.array_equal(explanation.values[:, -1], rows.select(("tilt",))[:, 0] ** 2)


class Sequenced(Forecaster):
    """The sum of a derived column over a row and the two before it."""

    def __init__(self) -> None:
        super().__init__(kind="sum", target=Target.VOLATILITY, horizon=HORIZON, version="1")
        self.past = 2

    def forecast(self, table: Table) -> Floats:
        total: Floats = table.sequences((DERIVED,), self.past).stacked.sum(axis=(1, 2))
        return total


def test_they_are_derived_of_what_was_before_too() -> None:
    examples = replace(EXAMPLES, past=past_of(EXAMPLES, 2)).take(np.arange(30, 60))
    tilt = Table.of(examples).sequences(("tilt",), 2).stacked[:, :, 0]
    right = (tilt**2).sum(axis=1)
    model = Deriving(Sequenced(), (SQUARES,))

    fitted = Table.of(with_derived(examples, (SQUARES,)))

    assert model.past == 2
    assert model.forecast(Table.of(examples)) == pytest.approx(right)
    assert Sequenced().forecast(fitted) == pytest.approx(right)
