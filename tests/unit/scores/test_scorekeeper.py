"""Every prediction is scored once, and what is not is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domain.events import LOSSES, Origin, PredictionBatch, Role, Target
from domain.market import Timeframe, from_ms
from services.scores.scorekeeper import SLACK_TICKS, Scorekeeper
from tests.factories import BTC, ETH
from tests.unit.scores.rows import HOUR, label, prediction

NOW = from_ms(12 * HOUR)


@pytest.fixture
def keeper() -> Scorekeeper:
    return Scorekeeper("simulated", Timeframe.H1, 2)


def test_a_prediction_is_scored_when_its_label_is_known(keeper: Scorekeeper) -> None:
    keeper.on_predictions(prediction(10, version="7"))

    (scored,) = keeper.on_labels(label(10), at=NOW)

    assert (scored.model, scored.version, scored.role) == ("pool.direction", "7", Role.MEMBER)
    assert (scored.instruments, scored.scored_at) == ((BTC, ETH), NOW)
    assert scored.as_of_ms.tolist() == [10 * HOUR] * 2
    assert scored.losses[:, LOSSES.index("log_loss")] == pytest.approx(np.log([2, 2]))
    assert np.isnan(scored.losses[:, LOSSES.index("pinball")]).all()
    assert keeper.pending == 0


def test_nothing_is_scored_twice(keeper: Scorekeeper) -> None:
    keeper.on_predictions(prediction(10))
    keeper.on_predictions(prediction(11))

    first = keeper.on_labels(label(10), at=NOW)
    again = keeper.on_labels(label(10), at=NOW)
    keeper.on_predictions(prediction(12))
    keeper.on_predictions(prediction(10))  # it comes again after it was scored
    later = keeper.on_labels(label(10, revision=np.array([2, 2])), at=NOW)

    assert [len(batch) for batch in first] == [2]
    assert again == later == []
    assert keeper.counts["judged"] == 2


def test_only_the_first_revision_is_scored(keeper: Scorekeeper) -> None:
    worse = np.tile([0.5, 0.25, 0.25], (2, 1))
    keeper.on_predictions(prediction(10, [BTC]))
    keeper.on_predictions(prediction(10, probabilities=worse, revision=np.array([2, 1])))

    scored = keeper.on_labels(label(10), at=NOW)

    found = {
        (str(name), int(batch.revision[i])): batch.losses[i, 0]
        for batch in scored
        for i, name in enumerate(batch.instruments)
    }
    assert found == pytest.approx(
        {("simulated:BTC/USDT", 1): np.log(2), ("simulated:ETH/USDT", 1): np.log(4)}
    )
    assert keeper.counts["repeated"] == 1


def test_forecasters_and_roles_are_scored_apart(keeper: Scorekeeper) -> None:
    keeper.on_predictions(prediction(10))
    keeper.on_predictions(prediction(10, model="class_prior.direction"))
    keeper.on_predictions(prediction(10, role=Role.CHALLENGER))

    scored = keeper.on_labels(label(10), at=NOW)

    assert [(batch.model, batch.role.value) for batch in scored] == [
        ("pool.direction", "member"),
        ("class_prior.direction", "member"),
        ("pool.direction", "challenger"),
    ]


def test_forecasters_of_one_close_score_what_each_would_score_alone(keeper: Scorekeeper) -> None:
    rng = np.random.default_rng(1)
    said = [
        prediction(
            10,
            instruments,
            model=f"{target}.{target}",
            target=target,
            probabilities=rng.dirichlet(np.ones(3), size=len(instruments)),
            quantiles=np.sort(rng.normal(0, 0.02, size=(len(instruments), 3))),
            volatility=rng.uniform(0.005, 0.02, size=len(instruments)),
        )
        for target in Target
        for instruments in ([BTC, ETH], [ETH])
    ]
    alone = []
    for number, batch in enumerate(said):
        named = replace(batch, model=f"{batch.model}.{number}")
        keeper.on_predictions(named)
        lonely = Scorekeeper("simulated", Timeframe.H1, 2)
        lonely.on_predictions(named)
        alone += lonely.on_labels(label(10, outcome=np.array([1.0, -1.0])), at=NOW)

    together = keeper.on_labels(label(10, outcome=np.array([1.0, -1.0])), at=NOW)

    assert [batch.model for batch in together] == [batch.model for batch in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.instruments == other.instruments
        np.testing.assert_array_equal(one.losses, other.losses)


def test_a_label_that_was_only_touched_scores_nothing(keeper: Scorekeeper) -> None:
    keeper.on_predictions(prediction(10))
    touched = label(10, known_ms=np.zeros(2, dtype=np.int64), log_return=np.full(2, np.nan))

    assert keeper.on_labels(touched, at=NOW) == []
    assert keeper.pending == 2


def test_a_void_label_is_counted_and_not_scored(keeper: Scorekeeper) -> None:
    keeper.on_predictions(prediction(10))
    half = np.array([np.nan, 0.01])

    (scored,) = keeper.on_labels(label(10, outcome=half * 100, log_return=half), at=NOW)

    assert scored.instruments == (ETH,)
    assert keeper.counts["void"] == 1
    assert keeper.pending == 0


def test_a_void_label_is_scored_once_its_gap_is_filled(keeper: Scorekeeper) -> None:
    keeper.on_predictions(prediction(10))
    half = np.array([np.nan, 0.01])
    keeper.on_labels(label(10, outcome=half * 100, log_return=half), at=NOW)

    (scored,) = keeper.on_labels(label(10), at=NOW)

    assert scored.instruments == (BTC,)
    assert keeper.counts["void"] == 0
    assert keeper.on_labels(label(10), at=NOW) == []


def test_a_return_without_a_direction_is_scored_for_what_it_says(keeper: Scorekeeper) -> None:
    quantiles = np.tile([-0.1, 0.0, 0.1], (2, 1))
    keeper.on_predictions(prediction(10, target=Target.SERVED, quantiles=quantiles))

    (scored,) = keeper.on_labels(label(10, outcome=np.full(2, np.nan)), at=NOW)

    assert np.isnan(scored.losses[:, LOSSES.index("log_loss")]).all()
    assert np.isfinite(scored.losses[:, LOSSES.index("pinball")]).all()


@pytest.mark.parametrize("origin", list(Origin))
def test_an_outcome_has_the_origin_of_what_was_said(keeper: Scorekeeper, origin: Origin) -> None:
    keeper.on_predictions(prediction(10, origin=origin))

    (scored,) = keeper.on_labels(label(10), at=NOW)

    assert (scored.origin, len(scored)) == (origin, 2)


def test_what_is_said_again_late_neither_hides_nor_doubles_what_was_live(
    keeper: Scorekeeper,
) -> None:
    live, late = prediction(10, [BTC]), prediction(10, version="2", origin=Origin.LATE)
    keeper.restore([late, live])
    keeper.on_predictions(replace(late, origin=Origin.BACKTEST))

    scored = keeper.on_labels(label(10), at=NOW)

    found = [(one.origin, one.version, one.instruments) for one in scored]
    assert found == [(Origin.LIVE, "1", (BTC,)), (Origin.LATE, "2", (ETH,))]
    assert keeper.counts["repeated"] == 3


def test_rows_whose_label_never_comes_expire(keeper: Scorekeeper) -> None:
    last = 10 + 10 * SLACK_TICKS
    for as_of in range(10, last + 1):
        keeper.on_predictions(prediction(as_of))
        if as_of >= 12:  # ETH fell silent
            keeper.on_labels(label(as_of - 2, [BTC]), at=NOW)

    # ETH waits for 2 + 48 closes and the newest; BTC for the two newest.
    assert keeper.pending == SLACK_TICKS + 3 + 2
    assert keeper.counts["expired"] == last - 10 - (SLACK_TICKS + 2)


def test_instruments_come_in_any_company(keeper: Scorekeeper) -> None:
    keeper.on_predictions(prediction(10, [ETH]))
    keeper.on_predictions(prediction(10, [BTC]))

    scored = keeper.on_labels(label(10, outcome=np.array([1.0, -1.0])), at=NOW)

    found = {batch.instruments: float(batch.losses[0, 0]) for batch in scored}
    assert found == pytest.approx({(ETH,): np.log(4), (BTC,): np.log(2)})


def test_other_subjects_are_not_looked_at(keeper: Scorekeeper) -> None:
    keeper.on_predictions(prediction(10, horizon=4))
    keeper.on_predictions(prediction(10, exchange="other"))
    keeper.on_predictions(prediction(10))

    assert keeper.pending == 2
    assert keeper.on_labels(label(10, horizon=4), at=NOW) == []


def test_restored_predictions_are_scored_like_those_that_never_stopped(
    keeper: Scorekeeper,
) -> None:
    stored: list[PredictionBatch] = [prediction(as_of) for as_of in (12, 10, 11)]
    keeper.restore(stored)

    scored = [len(batch) for as_of in (10, 11, 12) for batch in keeper.on_labels(label(as_of), NOW)]

    assert scored == [2, 2, 2]
    assert keeper.pending == 0
