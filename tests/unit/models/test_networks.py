"""Networks: where a fit begins, what it may see, and that one formula is fitted and served."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from alphapulse_testing.panel import EXAMPLES, HORIZON, MODEL_COLUMNS, PANEL, new_rows
from domain.events import Examples, Floats
from services.models.catalogue import Catalogue
from services.models.fitting import fit
from services.models.forecaster import Forecaster
from services.models.network_kind import (
    MLP,
    NETWORKS,
    RESNET,
    TABNET,
    NetworkKind,
    Scaling,
    _halves,
)
from services.models.networks import Network, drawn, sparsemax
from services.models.sample import CLASS_VALUES
from tests.planted_rows import planted_task, skill

KINDS = (MLP, RESNET, TABNET)
SEED = 2**62  # as large as one may be asked for
START = np.log([0.2, 0.5, 0.3])
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def network_of(kind: NetworkKind) -> Network:
    network: Network = NETWORKS[kind.name](**kind.recipes[0].parameters["network"])
    return network


def opened(kind: NetworkKind, rows: Examples, **changes: object) -> Forecaster:
    recipe = kind.recipes[0].changed(**changes)
    fitted = kind.fit(rows, MODEL_COLUMNS, recipe, HORIZON, SEED)
    frame = {"kind": kind.name, "target": recipe.target, "horizon": HORIZON}
    return kind.open({**fitted.numbers, **frame, "columns": MODEL_COLUMNS}, fitted.files, "1")


@every_kind
def test_a_fit_begins_where_every_row_has_the_class_frequencies(kind: NetworkKind) -> None:
    network, rng = network_of(kind), np.random.default_rng(1)

    scores = network.scores(np, drawn(network, 7, START, rng), rng.normal(size=(5, 7)))

    assert scores == pytest.approx(np.tile(START, (5, 1)))


@every_kind
def test_a_row_depends_on_itself_alone(kind: NetworkKind) -> None:
    network, rng = network_of(kind), np.random.default_rng(2)
    weights = {
        name: array + rng.normal(0, 0.1, array.shape)
        for name, array in drawn(network, 7, START, rng).items()
    }
    inputs = rng.normal(size=(5, 7))

    together = network.scores(np, weights, inputs)

    alone = np.vstack([network.scores(np, weights, row[None]) for row in inputs])
    assert alone == pytest.approx(together, abs=1e-12)
    assert np.ptp(together, axis=0).min() > 0


def by_sorting(scores: Floats) -> Floats:
    """Martins & Astudillo 2016, algorithm 1."""
    falling = -np.sort(-scores, axis=-1)
    sums = np.cumsum(falling, axis=-1) - 1.0
    support = (falling * np.arange(1, scores.shape[-1] + 1) > sums).sum(axis=-1, keepdims=True)
    threshold = np.take_along_axis(sums, support - 1, axis=-1) / support
    return np.asarray(np.maximum(scores - threshold, 0.0))


@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(-9, 9))
)
def test_a_mask_is_the_nearest_point_of_the_simplex(scores: Floats) -> None:
    mask = sparsemax(np, scores)

    assert mask == pytest.approx(by_sorting(scores), abs=1e-9)
    assert mask.sum(axis=-1) == pytest.approx(1.0)


def test_masks_of_many_inputs_are_exact() -> None:
    rng = np.random.default_rng(4)
    for scale in (0.01, 0.1, 1.0, 10.0):
        scores = scale * rng.normal(size=(2_000, 250))
        assert np.abs(sparsemax(np, scores) - by_sorting(scores)).max() < 1e-9


def test_no_label_to_learn_from_was_known_after_the_newer_rows_begin() -> None:
    """Each row carries its place in a column that is read."""
    numbered = EXAMPLES.features.copy()
    numbered[:, PANEL.columns.index("noise")] = np.arange(len(EXAMPLES))
    examples = replace(EXAMPLES, features=numbered)

    older, newer = (half.inputs[:, 0].astype(int) for half in _halves(examples, ("noise",)))

    known, begins = EXAMPLES.direction_known_ms[older].max(), EXAMPLES.as_of_ms[newer].min()
    assert known <= begins
    assert EXAMPLES.as_of_ms[older].max() < begins
    assert 0.08 * len(EXAMPLES) < len(newer) <= 0.1 * len(EXAMPLES)
    assert len(older) > 0.85 * len(EXAMPLES)


def test_an_unknown_value_is_the_mean_and_says_that_it_is_unknown_where_some_were() -> None:
    values = np.array([[1.0, 5.0], [3.0, np.nan], [5.0, 7.0]])
    scaling = Scaling.of(values)

    inputs = scaling.inputs(np.array([[3.0, np.nan], [np.nan, 6.0], [np.nan, np.nan], [1e9, 6.0]]))

    assert inputs[:, 2].tolist() == [1, 0, 1, 0]
    assert inputs[:, :2].tolist() == [[0, 0], [0, 0], [0, 0], [5, 0]]
    assert scaling.gaps.tolist() == [False, True]


def test_without_an_epoch_the_class_frequencies_are_said() -> None:
    older, _ = _halves(EXAMPLES, MODEL_COLUMNS)

    said = opened(MLP, EXAMPLES, epochs=0).predict(new_rows())

    counts = [older.weights[older.answers == one].sum() + 1.0 for one in CLASS_VALUES]
    assert said == pytest.approx(np.tile(counts / np.sum(counts), (len(said), 1)), abs=1e-6)


def test_what_is_to_be_learnt_is_learnt() -> None:
    asked = new_rows(200)

    said = opened(MLP, EXAMPLES).predict(asked)

    tilt = asked.values[:, PANEL.columns.index("tilt")]
    assert np.corrcoef(said[:, 2] - said[:, 0], tilt)[0, 1] > 0.8


@pytest.mark.long
@every_kind
def test_it_is_fitted_by_the_formula_that_serves(kind: NetworkKind) -> None:
    """JAX in single precision, numpy in double."""
    network, rng = network_of(kind), np.random.default_rng(5)
    weights = {
        name: array + rng.normal(0, 0.1, array.shape)
        for name, array in drawn(network, 9, START, rng).items()
    }
    inputs = rng.normal(size=(50, 9))

    ours = network.scores(np, weights, inputs)

    theirs = network.scores(importlib.import_module("jax.numpy"), weights, inputs)
    assert np.asarray(theirs) == pytest.approx(ours, abs=1e-4)


@pytest.mark.long
@every_kind
def test_each_beats_the_class_prior_on_the_planted_market(kind: NetworkKind) -> None:
    """On the last fifth of the rows, which it did not see."""
    judged = fit(planted_task(kind.recipes[0]), Catalogue(fitted=(kind,), online=())).judged

    assert np.isfinite(judged.losses).all()
    assert skill(judged).skill > 0.005
