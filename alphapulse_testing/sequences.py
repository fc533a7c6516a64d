"""What every model must do that reads the candles before a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from alphapulse_testing.check import BreachError, require
from alphapulse_testing.forecasts import Subject, well_formed
from alphapulse_testing.panel import EXAMPLES, panel_batch, past_of
from domain.events import Bools, Floats
from domain.past import Past
from domain.ports import Sequential

TOO_MANY: Final = 3  # candles more than it reads
ROWS: Final = 60  # that are asked of
MISSING: Final = 0.3  # share of the candles


def it_says_how_far_back_it_reads(subject: Subject) -> None:
    require(_model(subject).past > 0, "its recipe has a past, and what was fitted reads none")


def a_sequence_is_forecast_alone_as_among_others(subject: Subject) -> None:
    model = _model(subject)
    values, past = _rows(model.past)
    alone = [
        model.predict_after(panel_batch(values[[row]]), past.take(np.array([row])))
        for row in range(ROWS)
    ]
    together = model.predict_after(panel_batch(values), past)
    same = np.allclose(np.concatenate(alone), together, rtol=0, atol=1e-9)
    require(same, "a sequence depends on those beside it")


def what_was_before_matters(subject: Subject) -> None:
    model = _model(subject)
    values, past = _rows(model.past)
    said = model.predict_after(panel_batch(values), past)
    other = model.predict_after(panel_batch(values), replace(past, rows=past.rows + 1.0))
    require(not np.array_equal(other, said), "it reads no row but the newest")


def what_was_before_that_does_not_matter(subject: Subject) -> None:
    """More is told of the past than it reads."""
    model = _model(subject)
    values, past = _rows(model.past)
    _, longer = _rows(model.past + TOO_MANY)
    said, more = (model.predict_after(panel_batch(values), one) for one in (past, longer))
    same = np.allclose(more, said, rtol=0, atol=1e-9)
    require(same, "it reads candles that are further back than it says")


def missing_candles_are_answered(subject: Subject) -> None:
    """Some of the past is not there, or all of it, or nobody tells any."""
    model = _model(subject)
    values, past = _rows(model.past)
    nowhere = _without(past, np.ones(past.places.shape, dtype=np.bool_))
    for one in (_without(past, _missing(past)), nowhere):
        output = model.predict_after(panel_batch(values), one)
        require(np.isfinite(output).all(), "a row is not answered for what is missing before it")
        well_formed(subject.taught.target, output)
    same = np.array_equal(
        subject.taught.predict(panel_batch(values)),
        model.predict_after(panel_batch(values), nowhere),
    )
    require(same, "a past in which nothing is known is not what none is")


def a_missing_candle_is_as_one_of_which_nothing_is_known(subject: Subject) -> None:
    model = _model(subject)
    values, past = _rows(model.past)
    nothing = np.full((1, past.rows.shape[1]), np.nan)
    unknown = replace(
        past,
        rows=np.concatenate((past.rows, nothing)),
        places=np.where(_missing(past), len(past.rows), past.places),
    )
    same = np.array_equal(
        model.predict_after(panel_batch(values), unknown),
        model.predict_after(panel_batch(values), _without(past, _missing(past))),
    )
    require(same, "an unknown row in the past is not what a missing one is")


def _model(subject: Subject) -> Sequential:
    model = subject.taught
    if not isinstance(model, Sequential):
        raise BreachError("it cannot be asked with what was before a row")
    return model


def _rows(candles: int) -> tuple[Floats, Past]:
    """The newest rows of the panel, and their past."""
    newest = np.arange(len(EXAMPLES) - ROWS, len(EXAMPLES))
    past = past_of(EXAMPLES, candles)
    return EXAMPLES.features[newest], past.take(newest)


def _missing(past: Past) -> Bools:
    drawn: Bools = np.random.default_rng(9).random(past.places.shape) < MISSING
    return drawn


def _without(past: Past, missing: Bools) -> Past:
    return replace(past, places=np.where(missing, -1, past.places))


OF_SEQUENCES: Final[tuple[Callable[[Subject], None], ...]] = (
    it_says_how_far_back_it_reads,
    a_sequence_is_forecast_alone_as_among_others,
    what_was_before_matters,
    what_was_before_that_does_not_matter,
    missing_candles_are_answered,
    a_missing_candle_is_as_one_of_which_nothing_is_known,
)
