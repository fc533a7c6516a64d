"""What every taught model must do, whatever it is made of and however it learnt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from alphapulse_testing.check import require
from alphapulse_testing.panel import (
    EXAMPLES,
    PANEL,
    new_rows,
    panel_batch,
    per_row,
    reordered,
    without,
)
from domain.events import Floats, Target
from domain.ports import Model


class Subject(Protocol):
    """A model under its name, taught on `panel.EXAMPLES`."""

    @property
    def name(self) -> str: ...

    @property
    def taught(self) -> Model: ...

    @property
    def reads_rows(self) -> bool:
        """Whether its forecast depends on the row at all."""
        ...


def well_formed(target: Target, output: Floats) -> None:
    """Rows of a forecast that are known are what the target asks for.

    Raises:
        BreachError: they are not.
    """
    require(output.dtype == np.float64, f"forecasts are {output.dtype}, not float64")
    if target is Target.VOLATILITY:
        require(output.ndim == 1, f"volatilities have {output.ndim} dimensions")
        require((output > 0).all(), "a volatility is not above 0")
        return
    require(output.shape[1:] == (3,), f"rows of {output.shape[1:]}, not of 3")
    if target is Target.DIRECTION:
        require((output > 0).all(), "a probability is not above 0")
        sums = output.sum(axis=1)
        require(np.allclose(sums, 1, rtol=0, atol=1e-12), "probabilities do not sum to 1")
    else:
        require((np.diff(output, axis=1) >= 0).all(), "quantiles cross")


def a_forecast_is_well_formed(subject: Subject) -> None:
    model = subject.taught
    output = model.predict(new_rows())
    require(model.name == subject.name, f"the model calls itself {model.name}")
    require(len(output) == len(new_rows()), f"{len(output)} forecasts of {len(new_rows())} rows")
    well_formed(model.target, output)


def predicting_changes_neither_the_model_nor_its_input(subject: Subject) -> None:
    model, batch = subject.taught, new_rows()
    before = batch.values.copy()
    first = model.predict(batch)
    model.predict(panel_batch(1e6 * np.ones_like(before)))  # what comes between changes nothing
    second = model.predict(batch)
    require(np.array_equal(first, second), "the same rows are forecast otherwise a second time")
    require(np.array_equal(batch.values, before), "the rows were changed")


def a_row_is_forecast_alone_as_among_others(subject: Subject) -> None:
    model, batch = subject.taught, new_rows()
    together = model.predict(batch)
    alone = np.concatenate([model.predict(panel_batch(row[None])) for row in batch.values])
    require(np.allclose(alone, together, rtol=0, atol=1e-9), "a row depends on those beside it")


def no_rows_give_no_forecasts(subject: Subject) -> None:
    output = subject.taught.predict(panel_batch(np.empty((0, len(PANEL.columns)))))
    require(len(output) == 0, f"{len(output)} forecasts of no rows")


def columns_are_found_by_name(subject: Subject) -> None:
    model, batch = subject.taught, new_rows()
    turned = reordered(batch, PANEL.columns[::-1])
    require(
        np.array_equal(model.predict(turned), model.predict(batch)),
        "the order of the columns matters",
    )


def a_missing_column_is_an_error_where_it_is_read(subject: Subject) -> None:
    model, batch = subject.taught, new_rows()
    whole = model.predict(batch)
    for column in PANEL.columns:
        try:
            output = model.predict(without(batch, column))
        except KeyError:
            continue
        same = np.array_equal(output, whole)
        require(same, f"without {column} another forecast is made, and no KeyError raised")


def price_does_not_matter(subject: Subject) -> None:
    model, batch = subject.taught, new_rows()
    dearer = batch.values.copy()
    dearer[:, PANEL.columns.index("close")] *= 1000
    require(
        np.array_equal(model.predict(panel_batch(dearer)), model.predict(batch)),
        "a column that is not of its columns matters",
    )


def a_row_with_unknown_features_is_answered_wholly_or_not_at_all(subject: Subject) -> None:
    """NaN, infinity and 1e308 in a fifth of all values."""
    model, batch = subject.taught, new_rows(200)
    holes = np.random.default_rng(3).random(batch.values.shape)
    values = np.where(holes < 0.1, np.nan, batch.values)
    values = np.where((holes > 0.1) & (holes < 0.15), np.inf, values)
    values = np.where((holes > 0.15) & (holes < 0.2), -1e308, values)
    output = per_row(model.predict(panel_batch(values)))
    known = np.isfinite(output).all(axis=1)
    require(known.any(), "no row with an unknown feature among others is answered")
    require(np.isnan(output[~known]).all(), "a row is answered in part")
    well_formed(model.target, output[known] if output.shape[1] == 3 else output[known, 0])


def a_row_of_which_nothing_is_known_is_not_answered(subject: Subject) -> None:
    if not subject.reads_rows:
        return
    output = subject.taught.predict(panel_batch(np.full((2, len(PANEL.columns)), np.nan)))
    require(np.isnan(output).all(), "a forecast of a row without any known feature")


def it_knows_more_than_nothing(subject: Subject) -> None:
    """Of the rows that it was taught."""
    model = subject.taught
    output = model.predict(panel_batch(EXAMPLES.features))
    if model.target is Target.VOLATILITY:
        known = np.isfinite(output)
        both = np.log(output[known]), np.log(EXAMPLES.realized_volatility[known])
        require(np.corrcoef(*both)[0, 1] > 0.5, "volatility as forecast does not follow the real")
    elif model.target is Target.DIRECTION:
        given = output[np.arange(len(output)), EXAMPLES.outcome.astype(int) + 1]
        require(-np.log(given).mean() < np.log(3), "direction is forecast worse than by a third")
    else:
        below = (EXAMPLES.log_return[:, None] <= output).mean(axis=0)
        near = np.allclose(below, [0.1, 0.5, 0.9], atol=0.06)
        require(near, f"shares below the quantiles: {below.round(2)}")


OF_EVERY_MODEL: Final[tuple[Callable[[Subject], None], ...]] = (
    a_forecast_is_well_formed,
    predicting_changes_neither_the_model_nor_its_input,
    a_row_is_forecast_alone_as_among_others,
    no_rows_give_no_forecasts,
    columns_are_found_by_name,
    a_missing_column_is_an_error_where_it_is_read,
    price_does_not_matter,
    a_row_with_unknown_features_is_answered_wholly_or_not_at_all,
    a_row_of_which_nothing_is_known_is_not_answered,
    it_knows_more_than_nothing,
)
