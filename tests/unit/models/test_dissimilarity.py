"""The distance of rows to training rows, kept with the artifact, told by the opened model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse_testing.panel import HORIZON, HOUR_MS, MODEL_COLUMNS, panel_examples
from domain.errors import ArtifactError
from domain.events import Floats
from services.models.artifacts import open_model
from services.models.bundle import read_bundle, write_bundle
from services.models.catalogue import BUILT_IN
from services.models.dissimilarity import Reference
from services.models.fitting import FitTask, fit
from services.models.forecaster import Table
from services.models.walk_forward import SplitKind

NAMES = ("a", "b", "c")


def rows(seed: int, count: int = 50) -> Floats:
    spread = np.array([1.0, 1e-4, 1e6])
    drawn: Floats = 3 * spread + np.random.default_rng(seed).normal(size=(count, 3)) * spread
    return drawn


@given(seed=st.integers(0, 1_000), scale=st.floats(0.001, 1_000), shift=st.floats(-10, 10))
def test_training_rows_have_a_mean_square_of_1_in_any_unit(
    seed: int, scale: float, shift: float
) -> None:
    trained = rows(seed)
    distance = Reference.of(NAMES, trained).dissimilarity(trained)
    assert (distance**2).mean() == pytest.approx(1.0)

    other = trained * scale + shift * scale * trained.std(axis=0)
    again = Reference.of(NAMES, other).dissimilarity(other)
    np.testing.assert_allclose(again, distance, rtol=1e-6)


def test_a_row_is_as_far_as_its_columns_are_in_spreads_of_the_training_rows() -> None:
    reference = Reference(columns=NAMES, mean=np.array([1.0, 2.0, 3.0]), spread=np.ones(3))
    nan = np.nan
    asked = np.array([[1.0, 2.0, 3.0], [4.0, 2.0, 3.0], [nan, 2.0, 7.0], [nan, nan, nan]])
    np.testing.assert_allclose(
        reference.dissimilarity(asked), [0.0, np.sqrt(3.0), np.sqrt(8.0), nan]
    )


def test_a_column_without_spread_is_left_out_and_one_is_measured_where_it_is_known() -> None:
    trained = rows(1)
    trained[:, 0] = 7.0
    trained[::2, 1] = np.nan
    reference = Reference.of(NAMES, trained)
    assert reference.columns == ("b", "c")
    assert reference.mean[0] == pytest.approx(trained[1::2, 1].mean())
    assert reference.spread[0] == pytest.approx(trained[1::2, 1].std())
    nothing = Reference.of(NAMES, np.full((4, 3), np.nan))
    assert nothing.columns == ()
    assert np.isnan(nothing.dissimilarity(np.empty((2, 0)))).all()


def test_what_is_written_reads_as_one_object_for_one_content() -> None:
    reference = Reference.of(NAMES, rows(1))
    read = Reference.read(reference.written())
    assert read is Reference.read(reference.written())
    assert read is not Reference.read(Reference.of(NAMES, rows(2)).written())
    np.testing.assert_array_equal(read.dissimilarity(rows(3)), reference.dissimilarity(rows(3)))
    with pytest.raises(ValueError, match="do not match"):
        Reference.read({**reference.written(), "columns": ["a"]})


def test_an_opened_model_measures_from_the_rows_that_it_was_fitted_on() -> None:
    examples = panel_examples(250)
    result = fit(
        FitTask(
            recipe=BUILT_IN.recipes["logistic.direction"],
            horizon=HORIZON,
            horizon_ms=HORIZON * HOUR_MS,
            columns=MODEL_COLUMNS,
            examples=examples,
            split=SplitKind.LEAN,
            seed=7,
        )
    )
    reference = open_model(result.artifact, "1").reference
    assert reference is not None
    trained = Table.of(examples.take(examples.as_of_ms <= result.trained_until_ms))
    distance = reference.dissimilarity(trained.select(reference.columns))
    assert (distance**2).mean() == pytest.approx(1.0, rel=0.01)  # but for rows of the embargo

    description, files = read_bundle(result.artifact)
    written = description.pop("reference")
    assert open_model(write_bundle(description, files), "1").reference is None
    del written["mean"]
    with pytest.raises(ArtifactError, match="incomplete"):
        open_model(write_bundle({**description, "reference": written}, files), "1")
