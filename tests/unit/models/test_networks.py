"""Networks: where a fit begins, what it may see, and that one formula is fitted and served."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from alphapulse_testing.panel import (
    EXAMPLES,
    HORIZON,
    HOUR_MS,
    MODEL_COLUMNS,
    PANEL,
    new_rows,
    past_of,
)
from domain.events import Examples, Floats
from services.models.catalogue import Catalogue
from services.models.fitting import fit
from services.models.forecaster import Forecaster, Table
from services.models.network_kind import (
    GRU,
    MLP,
    NETWORKS,
    RESNET,
    TABNET,
    NetworkKind,
    Scaling,
    _halves,
)
from services.models.networks import Gru, Network, drawn, sparsemax
from services.models.sample import CLASS_VALUES, sample_weights
from services.models.sequences import Sequences
from tests.planted_rows import planted_task, skill

KINDS = (MLP, RESNET, TABNET, GRU)
SEED = 2**62  # as large as one may be asked for
START = np.log([0.2, 0.5, 0.3])
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def network_of(kind: NetworkKind) -> Network:
    network: Network = NETWORKS[kind.name](**kind.recipes[0].parameters["network"])
    return network


def inputs_of(kind: NetworkKind, rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """Rows, or sequences of four; each of these has a step of which nothing is known."""
    if not kind.recipes[0].past:
        return rng.normal(size=(rows, columns))
    inputs = rng.normal(size=(rows, 4, columns))
    inputs[np.arange(rows), np.arange(rows) % 3] = 0.0
    return inputs


def opened(kind: NetworkKind, rows: Examples, **changes: object) -> Forecaster:
    recipe = kind.recipes[0].changed(**changes)
    fitted = kind.fit(rows, MODEL_COLUMNS, recipe, HORIZON, SEED)
    frame = {"kind": kind.name, "target": recipe.target, "horizon": HORIZON}
    return kind.open({**fitted.numbers, **frame, "columns": MODEL_COLUMNS}, fitted.files, "1")


@every_kind
def test_a_fit_begins_where_every_row_has_the_class_frequencies(kind: NetworkKind) -> None:
    network, rng = network_of(kind), np.random.default_rng(1)

    scores = network.scores(np, drawn(network, 7, START, rng), inputs_of(kind, 5, 7, rng))

    assert scores == pytest.approx(np.tile(START, (5, 1)))


@every_kind
def test_a_row_depends_on_itself_alone(kind: NetworkKind) -> None:
    network, rng = network_of(kind), np.random.default_rng(2)
    weights = {
        name: array + rng.normal(0, 0.1, array.shape)
        for name, array in drawn(network, 7, START, rng).items()
    }
    inputs = inputs_of(kind, 5, 7, rng)

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

    older, newer = (
        Table.of(half).select(("noise",))[:, 0].astype(int)
        for half in _halves(examples, ("noise",))
    )

    known, begins = EXAMPLES.direction_known_ms[older].max(), EXAMPLES.as_of_ms[newer].min()
    assert known <= begins
    assert EXAMPLES.as_of_ms[older].max() < begins
    assert 0.08 * len(EXAMPLES) < len(newer) <= 0.1 * len(EXAMPLES)
    assert len(older) > 0.85 * len(EXAMPLES)


def test_newer_sequences_share_no_candle_with_labels_that_were_learnt() -> None:
    sequences = replace(EXAMPLES, past=past_of(EXAMPLES, 15))

    older, newer = _halves(sequences, MODEL_COLUMNS)

    begins_ms = newer.as_of_ms.min() - 15 * HOUR_MS
    assert begins_ms - HOUR_MS < older.direction_known_ms.max() <= begins_ms


def test_a_row_of_which_nothing_is_known_is_a_step_of_zeros() -> None:
    values = np.array([[1.0, 5.0], [3.0, np.nan], [np.nan, np.nan]])
    scaling = Scaling.of(values[:2])

    steps = scaling.steps(Sequences(values, np.array([[2, 0], [0, 1]])))

    assert steps.rows[2].tolist() == [0, 0, 0]
    assert steps.rows[1].tolist() == [1, 0, 1]
    assert steps.stacked.shape == (2, 2, 3)


def test_a_state_goes_on_over_a_step_of_which_nothing_is_known() -> None:
    network, rng = network_of(GRU), np.random.default_rng(6)
    weights = {
        name: array + rng.normal(0, 0.3, array.shape)
        for name, array in drawn(network, 7, START, rng).items()
    }
    inputs = rng.normal(size=(5, 4, 7))

    holed = np.insert(inputs, 2, 0.0, axis=1)

    said = network.scores(np, weights, inputs)
    assert network.scores(np, weights, holed) == pytest.approx(said, abs=1e-12)
    assert np.abs(network.scores(np, weights, inputs[:, ::-1]) - said).min() > 1e-6


def test_the_recurrent_unit_by_hand() -> None:
    """One input, one unit, two steps: Cho et al. 2014, with the reset gate after the product."""
    told, kept = np.array([0.5, -1.0, 2.0]), np.array([0.3, 0.8, -0.6])
    weights = {
        "told.weight": told[None],
        "told.bias": np.array([0.1, 0.2, 0.3]),
        "kept.weight": kept[None],
        "kept.bias": np.array([0.0, 0.0, 0.4]),
        "out.weight": np.array([[1.0, 0.0, -1.0]]),
        "out.bias": np.zeros(3),
    }

    def sigmoid(x: float) -> float:
        return float(1 / (1 + np.exp(-x)))

    state = 0.0
    for x in (0.7, -0.4):
        update = sigmoid(0.5 * x + 0.1 + 0.3 * state)
        reset = sigmoid(-1.0 * x + 0.2 + 0.8 * state)
        new = np.tanh(2.0 * x + 0.3 + reset * (-0.6 * state + 0.4))
        state = update * state + (1 - update) * float(new)

    (said,) = Gru(width=1).scores(np, weights, np.array([[[0.7], [-0.4]]]))

    assert said == pytest.approx([state, 0.0, -state])


def test_what_follows_from_the_candles_before_is_learnt() -> None:
    """The outcome is of the tilt two candles before, which no single row knows."""
    past = past_of(EXAMPLES, 2)
    tilt = past.rows[:, PANEL.columns.index("tilt")]
    before = np.where(past.places[:, 0] >= 0, tilt[past.places[:, 0]], 0.0)
    outcome = np.where(before > 0.8, 1.0, np.where(before < -0.8, -1.0, 0.0))
    examples = replace(EXAMPLES, outcome=outcome, past=past)

    model = opened(GRU, examples, past=2, learning_rate=0.01)

    said = model.forecast(Table.of(examples))
    blind = model.forecast(replace(Table.of(examples), past=None))
    assert np.corrcoef(said[:, 2] - said[:, 0], before)[0, 1] > 0.8
    assert abs(np.corrcoef(blind[:, 2] - blind[:, 0], before)[0, 1]) < 0.2


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

    weights = sample_weights(older)
    counts = [weights[older.outcome == one].sum() + 1.0 for one in CLASS_VALUES]
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
    inputs = inputs_of(kind, 50, 9, rng)

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
