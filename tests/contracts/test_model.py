"""What every model must do, whatever it is made of."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from domain.errors import ArtifactError
from domain.events import Examples, FeatureBatch, Floats, Target
from domain.ports import Learner, Model
from services.models.artifacts import ArtifactStore, open_model
from services.models.baseline import ClassPrior, EmpiricalQuantiles, Ewma
from services.models.bundle import read_bundle, write_bundle
from services.models.fitting import FitTask, fit
from services.models.har import Har
from services.models.online import RiverSoftmax
from services.models.recipes import RECIPES, Recipe
from services.models.walk_forward import SplitKind
from tests.panel import (
    HORIZON,
    HOUR_MS,
    MODEL_COLUMNS,
    PANEL,
    panel_batch,
    panel_examples,
    panel_features,
    reordered,
)

LEARNERS: dict[str, Callable[[], Learner]] = {
    "class_prior.direction": lambda: ClassPrior(horizon=HORIZON),
    "ewma.volatility": lambda: Ewma(horizon=HORIZON),
    "har.volatility": lambda: Har(horizon=HORIZON),
    "empirical.quantiles": lambda: EmpiricalQuantiles(horizon=HORIZON),
    "river.direction": lambda: RiverSoftmax(MODEL_COLUMNS, horizon=HORIZON),
}
FITTED = {
    f"{kind}.{target}": replace(recipe, trees=30, min_child=5.0)
    for (target, kind), recipe in RECIPES.items()
}
EXAMPLES = panel_examples(250)

every_model = pytest.mark.parametrize("name", [*LEARNERS, *FITTED])
every_learner = pytest.mark.parametrize("name", LEARNERS)
every_fitted = pytest.mark.parametrize("name", FITTED)


def fitted(recipe: Recipe, examples: Examples) -> bytes:
    task = FitTask(
        recipe=recipe,
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=examples,
        split=SplitKind.LEAN,
        seed=7,
    )
    return fit(task).artifact


@lru_cache
def artifact(name: str) -> bytes:
    return fitted(FITTED[name], EXAMPLES)


@lru_cache
def taught(name: str) -> Model:
    if name in FITTED:
        return open_model(artifact(name), version="1")
    learner = LEARNERS[name]()
    learner.learn(EXAMPLES)
    return learner


def new_rows(count: int = 40) -> FeatureBatch:
    return panel_batch(panel_features(count, seed=99))


def per_row(output: Floats) -> Floats:
    return output.reshape(len(output), -1)


def assert_well_formed(target: Target, output: Floats) -> None:
    assert output.dtype == np.float64
    if target is Target.VOLATILITY:
        assert output.ndim == 1
        assert (output > 0).all()
    elif target is Target.DIRECTION:
        assert output.shape[1:] == (3,)
        assert (output > 0).all()
        assert np.allclose(output.sum(axis=1), 1, rtol=0, atol=1e-12)
    else:
        assert output.shape[1:] == (3,)
        assert (np.diff(output, axis=1) >= 0).all()


@every_model
def test_a_forecast_is_well_formed(name: str) -> None:
    model = taught(name)

    output = model.predict(new_rows())

    assert model.name == name
    assert len(output) == 40
    assert_well_formed(model.target, output)


@every_model
def test_predicting_changes_neither_the_model_nor_its_input(name: str) -> None:
    model, batch = taught(name), new_rows()
    before = batch.values.copy()

    first, second = model.predict(batch), model.predict(batch)

    assert np.array_equal(first, second)
    assert np.array_equal(batch.values, before)


@every_model
def test_a_row_is_forecast_alone_as_among_others(name: str) -> None:
    model, batch = taught(name), new_rows()

    together = model.predict(batch)
    alone = np.concatenate([model.predict(panel_batch(row[None])) for row in batch.values])

    assert np.allclose(alone, together, rtol=0, atol=1e-9)


@every_model
def test_no_rows_give_no_forecasts(name: str) -> None:
    output = taught(name).predict(panel_batch(np.empty((0, len(PANEL.columns)))))

    assert len(output) == 0


@every_model
def test_columns_are_found_by_name(name: str) -> None:
    model, batch = taught(name), new_rows()

    assert np.array_equal(
        model.predict(reordered(batch, PANEL.columns[::-1])), model.predict(batch)
    )


@every_model
def test_price_does_not_matter(name: str) -> None:
    model, batch = taught(name), new_rows()
    dearer = batch.values.copy()
    dearer[:, PANEL.columns.index("close")] *= 1000

    assert np.array_equal(model.predict(panel_batch(dearer)), model.predict(batch))


@every_model
def test_a_row_with_unknown_features_is_answered_wholly_or_not_at_all(name: str) -> None:
    model, batch = taught(name), new_rows(200)
    holes = np.random.default_rng(3).random(batch.values.shape)
    values = np.where(holes < 0.1, np.nan, batch.values)
    values = np.where((holes > 0.1) & (holes < 0.15), np.inf, values)
    values = np.where((holes > 0.15) & (holes < 0.2), -1e308, values)

    output = per_row(model.predict(panel_batch(values)))

    known = np.isfinite(output).all(axis=1)
    assert known.any()
    assert np.isnan(output[~known]).all()
    shaped = output[known] if output.shape[1] == 3 else output[known, 0]
    assert_well_formed(model.target, shaped)


@pytest.mark.parametrize(
    "name", [name for name in (*LEARNERS, *FITTED) if name != "class_prior.direction"]
)
def test_a_row_of_which_nothing_is_known_is_not_answered(name: str) -> None:
    values = np.full((2, len(PANEL.columns)), np.nan)

    assert np.isnan(taught(name).predict(panel_batch(values))).all()


@every_model
def test_it_knows_more_than_nothing(name: str) -> None:
    """On the rows that it was taught, against the same model with shuffled answers."""
    model = taught(name)
    output = model.predict(panel_batch(EXAMPLES.features))

    if model.target is Target.VOLATILITY:
        known = np.isfinite(output)
        together = np.corrcoef(np.log(output[known]), np.log(EXAMPLES.realized_volatility[known]))
        assert together[0, 1] > 0.5
    elif model.target is Target.DIRECTION:
        given = output[np.arange(len(output)), EXAMPLES.outcome.astype(int) + 1]
        assert -np.log(given).mean() < np.log(3)
    else:
        below = (EXAMPLES.log_return[:, None] <= output).mean(axis=0)
        assert np.allclose(below, [0.1, 0.5, 0.9], atol=0.06)


@every_learner
def test_an_untaught_learner_answers_by_definition_or_not_at_all(name: str) -> None:
    learner = LEARNERS[name]()

    output = per_row(learner.predict(new_rows()))

    assert np.isfinite(output).all() or np.isnan(output).all()


@every_learner
def test_cutting_the_examples_into_batches_changes_nothing(name: str) -> None:
    whole, cut = LEARNERS[name](), LEARNERS[name]()
    edges = [0, 1, 6, 100, 101, 640, len(EXAMPLES)]

    whole.learn(EXAMPLES)
    for start, stop in itertools.pairwise(edges):
        cut.learn(EXAMPLES.take(np.arange(start, stop)))

    assert cut.snapshot() == whole.snapshot()
    assert np.array_equal(cut.predict(new_rows()), whole.predict(new_rows()))


@every_learner
@pytest.mark.parametrize("learnt", [0, 30, 600])
def test_a_restored_learner_continues_to_the_bit(name: str, learnt: int) -> None:
    original, restored = LEARNERS[name](), LEARNERS[name]()
    original.learn(EXAMPLES.take(np.arange(learnt)))
    rest = EXAMPLES.take(np.arange(learnt, len(EXAMPLES)))

    restored.restore(original.snapshot())

    assert np.array_equal(
        restored.predict(new_rows()), original.predict(new_rows()), equal_nan=True
    )
    original.learn(rest)
    restored.learn(rest)
    assert restored.snapshot() == original.snapshot()
    assert np.array_equal(restored.predict(new_rows()), original.predict(new_rows()))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "class_prior.direction"])
def test_a_poisoned_example_is_not_learnt(name: str, poison: float) -> None:
    sound, poisoned = LEARNERS[name](), LEARNERS[name]()
    features = EXAMPLES.features.copy()
    features[600] = poison

    sound.learn(EXAMPLES.take(np.delete(np.arange(len(EXAMPLES)), 600)))
    poisoned.learn(replace(EXAMPLES, features=features))

    assert np.array_equal(poisoned.predict(new_rows()), sound.predict(new_rows()))


@every_learner
def test_a_void_label_is_not_learnt(name: str) -> None:
    sound, voided = LEARNERS[name](), LEARNERS[name]()
    is_void = np.arange(len(EXAMPLES)) == 600

    sound.learn(EXAMPLES.take(np.delete(np.arange(len(EXAMPLES)), 600)))
    voided.learn(
        replace(
            EXAMPLES,
            outcome=np.where(is_void, np.nan, EXAMPLES.outcome),
            log_return=np.where(is_void, np.nan, EXAMPLES.log_return),
            realized_volatility=np.where(is_void, np.nan, EXAMPLES.realized_volatility),
        )
    )

    assert np.array_equal(voided.predict(new_rows()), sound.predict(new_rows()))


@every_learner
def test_the_state_of_another_model_is_refused(name: str) -> None:
    other = "ewma.volatility" if name != "ewma.volatility" else "har.volatility"

    with pytest.raises(ArtifactError):
        LEARNERS[name]().restore(LEARNERS[other]().snapshot())
    with pytest.raises(ArtifactError):
        LEARNERS[name]().restore(b"\x80 not a state")


@every_fitted
def test_two_fits_give_the_same_artifact(name: str) -> None:
    assert fitted(FITTED[name], EXAMPLES) == artifact(name)


@every_fitted
def test_an_artifact_on_disk_forecasts_as_the_fit_did(name: str, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")

    sha256 = store.save(artifact(name))
    model = store.load(name=name, version="3", sha256=sha256)

    assert model.version == "3"
    assert np.array_equal(model.predict(new_rows()), taught(name).predict(new_rows()))


@every_fitted
def test_an_altered_artifact_is_refused(name: str, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    sha256 = store.save(artifact(name))
    altered = bytearray(artifact(name))
    altered[len(altered) // 2] ^= 1
    (tmp_path / sha256).write_bytes(altered)

    with pytest.raises(ArtifactError, match="altered"):
        store.load(name=name, version="1", sha256=sha256)


@pytest.mark.parametrize("name", [name for name in FITTED if "logistic" not in name])
def test_a_payload_that_the_library_cannot_read_is_refused(name: str) -> None:
    description, files = read_bundle(artifact(name))
    broken = write_bundle(description, dict.fromkeys(files, b"broken"))

    with pytest.raises(ArtifactError, match="cannot read"):
        open_model(broken, version="1")


@every_fitted
def test_one_class_and_a_constant_column_are_enough_to_fit(name: str) -> None:
    features = EXAMPLES.features.copy()
    features[:, PANEL.columns.index("noise")] = 1.0
    features[:, PANEL.columns.index("hour")] = np.nan
    same = replace(EXAMPLES, features=features, outcome=np.ones(len(EXAMPLES)))

    model = open_model(fitted(FITTED[name], same), version="1")

    output = model.predict(new_rows())
    assert_well_formed(model.target, output)
    if model.target is Target.DIRECTION:
        assert (output[:, 2] > 0.9).all()


def test_quantiles_that_cross_are_sorted() -> None:
    name = "lightgbm.quantiles"
    description, files = read_bundle(artifact(name))
    crossed = {**files, "q10.txt": files["q90.txt"], "q90.txt": files["q10.txt"]}

    model = open_model(write_bundle(description, crossed), version="1")

    assert np.array_equal(model.predict(new_rows()), taught(name).predict(new_rows()))


def test_what_is_not_needed_is_not_imported(tmp_path: Path) -> None:
    names = ["xgboost.direction", "lightgbm.direction", "catboost.direction"]
    store = ArtifactStore(tmp_path)
    known = {name: store.save(artifact(name)) for name in [*names, "logistic.direction"]}
    code = f"""
import pathlib, sys
from services.models.artifacts import ArtifactStore
assert "numba" not in sys.modules
import services.models.online
from tests.panel import panel_batch, panel_features
store = ArtifactStore(pathlib.Path({str(tmp_path)!r}))
for name, sha256 in {known!r}.items():
    store.load(name=name, version="1", sha256=sha256).predict(panel_batch(panel_features(5)))
assert "catboost" in sys.modules
assert "sklearn" not in sys.modules
"""

    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)  # noqa: S603
