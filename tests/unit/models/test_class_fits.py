"""Fits of class labels: they learn what there is, and judge what they did not see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alphapulse_testing.panel import (
    HORIZON,
    HOUR_MS,
    MODEL_COLUMNS,
    new_rows,
    panel_batch,
    panel_examples,
)
from domain.errors import ArtifactError
from domain.events import Ints
from services.models.bundle import write_bundle
from services.models.class_fits import ClassTask, fit_classes, prior_before
from services.models.classified import open_classes, recipes_of
from services.models.walk_forward import SplitKind

EXAMPLES = panel_examples(400)
TILT = EXAMPLES.features[:, EXAMPLES.columns.index("tilt")]
NAMES = ("low", "middle", "high", "never")
RECIPES = recipes_of("tilt@3", NAMES)


def classes(noise: float = 0.5) -> Ints:
    """Thirds of what follows `tilt`; the fourth never comes."""
    value = TILT + np.random.default_rng(4).normal(0, noise, len(TILT))
    return np.digitize(value, np.quantile(value, [1 / 3, 2 / 3]))


def task(recipe: int = 0, split: SplitKind = SplitKind.LEAN) -> ClassTask:
    return ClassTask(
        recipe=RECIPES[recipe],
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=EXAMPLES,
        classes=classes(),
        known_ms=EXAMPLES.known_ms,
        split=split,
        seed=7,
    )


@pytest.mark.parametrize("recipe", [0, 1], ids=[one.name for one in RECIPES])
def test_what_there_is_to_learn_is_learnt(recipe: int) -> None:
    found = fit_classes(task(recipe))
    model = open_classes(found.artifact, "3")
    said = model.probabilities(new_rows())

    assert found.losses.mean() < 0.8 * found.prior_losses.mean()
    assert (model.name, model.version, model.label) == (RECIPES[recipe].name, "3", "tilt@3")
    np.testing.assert_allclose(said.sum(axis=1), 1.0)
    assert (said > 0).all()  # of the class that never came, too
    assert np.isnan(model.probabilities(panel_batch(np.full((2, 11), np.nan)))).all()
    assert model.probabilities(panel_batch(np.empty((0, 11)))).shape == (0, 4)


@pytest.mark.parametrize("recipe", [0, 1], ids=[one.name for one in RECIPES])
def test_two_classes_are_as_good_as_more(recipe: int) -> None:
    two = replace(RECIPES[recipe], classes=("down", "up"))
    answers = (classes() > 0).astype(np.int64)

    found = fit_classes(replace(task(), recipe=two, classes=answers))
    said = open_classes(found.artifact, "1").probabilities(new_rows())
    tilt = new_rows().column("tilt")

    assert said.shape == (40, 2)
    assert np.corrcoef(said[:, 1], tilt)[0, 1] > 0.5


@pytest.mark.parametrize("recipe", [0, 1], ids=[one.name for one in RECIPES])
def test_the_same_task_gives_the_same_artifact(recipe: int) -> None:
    first, second = fit_classes(task(recipe)), fit_classes(task(recipe))

    assert first.artifact == second.artifact
    assert first.data_sha256 == second.data_sha256
    assert first.data_sha256 != fit_classes(replace(task(recipe), classes=classes(0.6))).data_sha256


def test_the_locked_holdout_is_of_rows_that_the_fit_has_not_seen() -> None:
    lean, refresh = fit_classes(task()), fit_classes(task(split=SplitKind.REFRESH))

    assert lean.trained_until_ms + 2 * HORIZON * HOUR_MS <= lean.as_of_ms.min()
    assert len(lean.as_of_ms) <= len(EXAMPLES) / 5
    assert refresh.n_train == len(EXAMPLES)
    assert refresh.n_effective == len(EXAMPLES) / HORIZON


def test_the_prior_is_of_classes_that_were_known_by_then() -> None:
    rows = np.array([0, 300, 900])

    said = prior_before(task(), rows)

    for row, chances in zip(rows.tolist(), said, strict=True):
        known = classes()[EXAMPLES.known_ms <= EXAMPLES.as_of_ms[row]]
        counts = np.bincount(known, minlength=4)
        expected = (counts + 1) / (len(known) + 4) if len(known) >= 50 else np.full(4, 0.25)
        np.testing.assert_allclose(chances, expected)


def test_few_rows_are_refused_in_words() -> None:
    few = np.arange(499)
    small = replace(
        task(), examples=EXAMPLES.take(few), classes=classes()[few], known_ms=EXAMPLES.known_ms[few]
    )

    with pytest.raises(ValueError, match="499 rows with a class are too few"):
        fit_classes(small)


def test_what_is_no_artifact_of_a_class_model_is_refused() -> None:
    for content in (b"nothing", write_bundle({"kind": "lightgbm", "target": "direction"}, {})):
        with pytest.raises(ArtifactError):
            open_classes(content, "1")
