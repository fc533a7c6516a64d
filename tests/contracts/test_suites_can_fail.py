"""Each promise of the suites, broken on purpose, is named by the check that is about it."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from alphapulse_testing.candles import CANDLES, candle_checks
from alphapulse_testing.check import BreachError, Check
from alphapulse_testing.features import feature_checks
from alphapulse_testing.fitted import fitted_checks
from alphapulse_testing.learners import online_checks
from alphapulse_testing.panel import EXAMPLES
from alphapulse_testing.walk import walked_candles
from domain.events import Examples, Floats
from services.features.feature_set import Column, Unit
from services.models.explanation import Explanation
from services.models.forecaster import Forecaster, Table
from services.models.kinds import Fitted
from services.models.logistic import LOGISTIC
from services.models.online import RiverSoftmax
from services.models.recipes import Recipe
from services.models.river_kind import RiverKind
from tests.second_set import Second

COUNTER = itertools.count()
TEMPO = ("range_ratio", "log_return_1")

Said = Callable[[Forecaster, Table], Floats]
Left = Callable[[Examples, Fitted], Fitted]
Told = Callable[[Explanation], Explanation]


class Changed(Forecaster):
    """A model that says something else, or explains something else."""

    def __init__(self, model: Forecaster, said: Said, told: Told) -> None:
        super().__init__(
            kind="logistic", target=model.target, horizon=model.horizon, version=model.version
        )
        self._model, self._said, self._told = model, said, told

    def forecast(self, table: Table) -> Floats:
        return self._said(self._model, table)

    def explain(self, table: Table) -> Explanation | None:
        explanation = self._model.explain(table)
        return explanation and self._told(explanation)


@dataclass(frozen=True)
class Faulty:
    """The logistic kind with a fault in what it says, or in what its fit leaves."""

    said: Said = lambda model, table: model.forecast(table)
    left: Left = lambda _, fitted: fitted
    told: Told = lambda explanation: explanation
    name: str = "logistic"
    recipes: tuple[Recipe, ...] = LOGISTIC.recipes
    distributions: tuple[str, ...] = LOGISTIC.distributions
    past: int = 0  # that its models say they read

    def fit(
        self,
        examples: Examples,
        columns: tuple[str, ...],
        recipe: Recipe,
        horizon: int,
        seed: int,
    ) -> Fitted:
        return self.left(examples, LOGISTIC.fit(examples, columns, recipe, horizon, seed))

    def open(
        self, description: Mapping[str, Any], files: Mapping[str, bytes], version: str
    ) -> Forecaster:
        model = Changed(LOGISTIC.open(description, files, version), self.said, self.told)
        model.past = self.past
        return model


def about_the_rest(model: Forecaster, table: Table) -> Floats:
    """Probabilities that depend on the mean of all rows."""
    said = model.forecast(table)
    return np.asarray((said + said.mean(axis=0)) / 2) if len(said) else said


def by_place(model: Forecaster, table: Table) -> Floats:
    said = model.forecast(table)
    first = np.nan_to_num(table.values[:, :1], posinf=0.0, neginf=0.0)
    tilt = 1e-3 * np.tanh(np.log1p(np.abs(first)) / 10) * [1.0, 0.0, -1.0]
    return np.asarray(np.abs(said + tilt) / np.abs(said + tilt).sum(axis=1, keepdims=True))


def without_asking(model: Forecaster, table: Table) -> Floats:
    """Columns that are not there are zeros."""
    missing = tuple(name for name in EXAMPLES.columns if name not in table.columns)
    zeros = np.zeros((len(table), len(missing)))
    return model.forecast(Table(table.columns + missing, np.hstack((table.values, zeros))))


def in_part(model: Forecaster, table: Table) -> Floats:
    said = model.forecast(table)
    said[~np.isfinite(table.values).all(axis=1), 0] = np.nan
    return said


def whatever_is_known(model: Forecaster, table: Table) -> Floats:
    said = model.forecast(table)
    return np.where(np.isnan(said), 1 / 3, said)


def once_more(model: Forecaster, table: Table) -> Floats:
    tilt = 1e-6 * next(COUNTER) * np.array([1.0, 0.0, -1.0])
    return np.asarray(model.forecast(table) + tilt)


def knowing(model: Forecaster, table: Table) -> Floats:
    """The answers of the noise, which it can only have from elsewhere."""
    order = np.random.default_rng(11).permutation(len(EXAMPLES))
    answers = dict(
        zip((row.tobytes() for row in EXAMPLES.features), EXAMPLES.outcome[order], strict=True)
    )
    said = model.forecast(table)
    for place, row in enumerate(table.values):
        if row.tobytes() in answers:
            said[place] = 0.05
            said[place, int(answers[row.tobytes()]) + 1] = 0.9
    return said


def numbered(_: Examples, fitted: Fitted) -> Fitted:
    return replace(fitted, numbers={**fitted.numbers, "fit": next(COUNTER)})


def spoiling(examples: Examples, fitted: Fitted) -> Fitted:
    examples.features[0, 0] += 1.0
    return fitted


def in_excess(told: Explanation) -> Explanation:
    """The parts are more than their sum."""
    return replace(told, base=told.base + 2e-4)


def of_another_row(told: Explanation) -> Explanation:
    """It adds up, to what was not forecast."""
    more = np.array([0.0, 1e-3, 0.0])
    return replace(told, base=told.base + more, margin=told.margin + more)


def reading(candles: int) -> Recipe:
    """A recipe that says so long a past."""
    recipe = LOGISTIC.recipes[0]
    return replace(recipe, parameters={**recipe.parameters, "past": candles})


def pickled(_: Examples, fitted: Fitted) -> Fitted:
    return replace(fitted, files={"model.bin": pickle.dumps(dict(fitted.numbers))})


def check_of(checks: list[Check], words: str) -> Check:
    (found,) = [check for check in checks if check.name.endswith(words)]
    return found


@pytest.mark.parametrize(
    ("faulty", "promise"),
    [
        (Faulty(said=lambda m, t: m.forecast(t) / 2), "a forecast is well formed"),
        (Faulty(said=once_more), "predicting changes neither the model nor its input"),
        (Faulty(said=about_the_rest), "a row is forecast alone as among others"),
        (Faulty(said=lambda m, t: np.ones((1, 3)) / 3), "no rows give no forecasts"),
        (Faulty(said=by_place), "columns are found by name"),
        (Faulty(said=without_asking), "a missing column is an error where it is read"),
        (Faulty(said=by_place), "price does not matter"),
        (Faulty(said=in_part), "is answered wholly or not at all"),
        (Faulty(said=whatever_is_known), "of which nothing is known is not answered"),
        (Faulty(said=lambda m, t: m.forecast(t)[:, ::-1]), "it knows more than nothing"),
        (Faulty(recipes=(replace(LOGISTIC.recipes[0], kind="x"),)), "a recipe is of its kind"),
        (Faulty(recipes=(reading(513),)), "a recipe is of its kind"),
        (Faulty(recipes=(reading(-1),)), "a recipe is of its kind"),
        (Faulty(left=numbered), "two fits give the same artifact"),
        (Faulty(left=spoiling), "a fit changes no example"),
        (Faulty(said=once_more), "an artifact forecasts as the fit did"),
        (Faulty(left=pickled), "nothing of it is a pickle"),
        (Faulty(left=pickled), "a file that cannot be read is refused"),
        (Faulty(said=lambda m, t: m.forecast(t)[:, ::-1]), "are enough to fit"),
        (Faulty(said=knowing), "noise is not forecast"),
        (Faulty(told=in_excess), "adds up to what it forecasts"),
        (Faulty(told=of_another_row), "adds up to what it forecasts"),
    ],
)
def test_a_faulty_kind_is_found_out(faulty: Faulty, promise: str) -> None:
    with pytest.raises(BreachError):
        check_of(fitted_checks(faulty), promise)()


def following(candles: int = 2, unknown: float = 0.0) -> Said:
    """It leans to where `tilt` was in the candles before a row."""

    def said(model: Forecaster, table: Table) -> Floats:
        tilt = table.sequences(("tilt",), candles).stacked[:, :-1, 0]
        lean = np.tanh(np.where(np.isnan(tilt), unknown, tilt).sum(axis=1))
        return np.asarray(model.forecast(table) + 1e-4 * lean[:, None] * [1.0, 0.0, -1.0])

    return said


def by_neighbours(model: Forecaster, table: Table) -> Floats:
    return about_the_rest(model, table) if table.past else model.forecast(table)


def counting_holes(model: Forecaster, table: Table) -> Floats:
    """It knows a candle that is missing from one of which nothing is known."""
    said = following()(model, table)
    if table.past is None:
        return said
    holes = (table.past.places < 0).mean(axis=1)[:, None]
    return np.asarray(said + 1e-4 * np.where(holes < 1, holes, 0.0) * [1.0, 0.0, -1.0])


READING = (reading(2),)


@pytest.mark.parametrize(
    ("said", "past", "promise"),
    [
        (following(), 0, "it says how far back it reads"),
        (by_neighbours, 2, "a sequence is forecast alone as among others"),
        (lambda m, t: m.forecast(t), 2, "what was before matters"),
        (following(4), 2, "what was before that does not matter"),
        (following(unknown=np.nan), 2, "missing candles are answered"),
        (counting_holes, 2, "a missing candle is as one of which nothing is known"),
    ],
)
def test_a_faulty_reader_of_the_past_is_found_out(said: Said, past: int, promise: str) -> None:
    with pytest.raises(BreachError):
        check_of(fitted_checks(Faulty(said=said, past=past, recipes=READING)), promise)()


def test_a_sound_reader_of_the_past_passes() -> None:
    for check in fitted_checks(Faulty(said=following(), past=2, recipes=READING)):
        if "explains" not in check.name:
            check()


class Poisonable(RiverSoftmax):
    """It takes what is unknown for 0."""

    def learn(self, examples: Examples) -> None:
        known = np.isfinite(examples.features)
        super().learn(replace(examples, features=np.where(known, examples.features, 0.0)))


class Voidable(RiverSoftmax):
    """It takes a label that nobody knows for flat."""

    def learn(self, examples: Examples) -> None:
        super().learn(replace(examples, outcome=np.nan_to_num(examples.outcome)))


class Hasty(RiverSoftmax):
    """It learns the first example of each batch only."""

    def learn(self, examples: Examples) -> None:
        super().learn(examples.take(np.arange(min(1, len(examples)))))


class Forgetful(RiverSoftmax):
    """It is restored as if it had learnt nothing."""

    def restore(self, state: bytes) -> None:
        super().restore(type(self)(self.columns, horizon=self.horizon).snapshot())


class Trusting(RiverSoftmax):
    """It takes any state."""

    def restore(self, state: bytes) -> None:
        del state


class Pickled(RiverSoftmax):
    """Its state is a pickle."""

    def snapshot(self) -> bytes:
        return pickle.dumps(super().snapshot())


@pytest.mark.parametrize(
    ("learner", "promise"),
    [
        ("Poisonable", "a poisoned example is not learnt"),
        ("Voidable", "a void label is not learnt"),
        ("Hasty", "cutting the examples into batches changes nothing"),
        ("Forgetful", "a restored learner continues to the bit"),
        ("Trusting", "the state of another model is refused"),
        ("Pickled", "its state is no pickle"),
    ],
)
def test_a_faulty_learner_is_found_out(learner: str, promise: str) -> None:
    kind = RiverKind(name="river", module=__name__, learner=learner)

    with pytest.raises(BreachError):
        check_of(online_checks(kind), promise)()


@dataclass(frozen=True)
class Set:
    """A feature set with a fault."""

    compute: Callable[[Floats], Floats]
    formulas: Mapping[str, str]
    reads: tuple[str, ...] = TEMPO
    name: str = "tempo"
    version: int = 1
    distributions: tuple[str, ...] = ()


def of(compute: Callable[[Floats], Floats], **changes: Any) -> Set:
    return Set(compute, **{"formulas": {"one": "a formula"}, **changes})


def ahead(inputs: Floats) -> Floats:
    """The return of the candle that follows: there are four instruments a tick."""
    following: Floats = np.roll(inputs[:, 1:], -4, axis=0)
    return following


def spoil(inputs: Floats) -> Floats:
    inputs[:1] += 1.0
    return inputs[:, :1]


@pytest.mark.parametrize(
    ("features", "promise"),
    [
        (of(lambda x: x[:, :1], reads=("tempo",)), "it reads columns that there are"),
        (of(lambda x: x[:, :1], formulas={"One": "x"}), "have names and formulas"),
        (of(lambda x: x), "values have a row for each row"),
        (of(lambda x: np.full((len(x), 1), np.nan)), "warm rows are known"),
        (of(spoil), "the rows are not changed"),
        (of(lambda x: x[:, :1] - np.nanmean(x[:, :1])), "truncation changes nothing"),
        (of(lambda x: x[:, :1] / np.nanmax(x[:, :1])), "a shock of the future changes nothing"),
        (of(lambda x: np.nancumsum(x[:, :1], axis=0)), "a row is computed alone"),
        (of(lambda x: x[:, :1] + next(COUNTER)), "the order of calls does not matter"),
        (of(lambda x: np.nan_to_num(x[:, :1])), "nothing is made of nothing"),
        (of(lambda x: 1.0 / np.where(x[:, :1] == 0, 1e-320, x[:, :1])), "no value is infinite"),
        (of(ahead), "noise is not foretold"),
    ],
)
def test_a_faulty_feature_set_is_found_out(features: Set, promise: str) -> None:
    found = [check for check in feature_checks(features) if promise in check.name]

    with np.errstate(over="ignore"), pytest.raises(BreachError):
        found[0]()


def of_candles(compute: Callable[[Floats], Floats], **changes: Any) -> Second:
    return Wrong(made=compute, **{"adds": (Column("one", Unit.NONE, 12, "C"),), **changes})


@dataclass(frozen=True)
class Wrong(Second):
    """A candle feature set with a fault."""

    made: Callable[[Floats], Floats] = np.copy

    def compute(self, candles: Floats) -> Floats:
        return self.made(candles)


def spoil_candles(candles: Floats) -> Floats:
    candles[:, 0] = 1.0
    spoilt: Floats = candles[:, -1, 3:4] * candles[:, :, 3].mean(axis=1, keepdims=True)
    return spoilt


def known_soon(candles: Floats) -> Floats:
    mean: Floats = np.nanmean(candles[:, :, 3], axis=1)[:, None]
    return mean


def whole(candles: Floats) -> Floats:
    """The close over the oldest that is seen."""
    ratio: Floats = candles[:, -1, 3:4] / candles[:, 0, 3:4]
    return ratio


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (of_candles(whole, version=1), "it is a version with names"),
        (of_candles(whole, candles=0), "it is a version with names"),
        (of_candles(whole, adds=(Column("rsi_14", Unit.NONE, 1, "C"),)), "it is a version"),
        (of_candles(whole, without=("close",)), "it leaves out what there is"),
        (of_candles(whole, without=("closing",)), "it leaves out what there is"),
        (of_candles(known_soon), "its columns are known from their candle on"),
        (of_candles(lambda x: x[:, :1, 3] * np.nan), "its columns are known from their candle"),
        (of_candles(lambda x: whole(x) + next(COUNTER)), "live equals history"),
        (of_candles(lambda x: whole(x) + next(COUNTER)), "truncation changes nothing"),
        (of_candles(lambda x: whole(x) - whole(x).mean()), "an instrument is computed alone"),
        (of_candles(spoil_candles), "the candles are not changed"),
        (of_candles(lambda x: np.nan_to_num(whole(x))), "nothing is made of nothing"),
        (of_candles(lambda x: np.hstack((x[:, 0], x[:, 0]))), "nothing is made of nothing"),
    ],
)
def test_a_faulty_candle_set_is_found_out(kind: Second, promise: str) -> None:
    found = [check for check in candle_checks(kind) if promise in check.name]

    with pytest.raises(BreachError):
        found[0]()


def test_a_candle_set_that_foretells_is_found_out() -> None:
    """It knows the walk of the suite, as one that was looked up would."""
    close = walked_candles(CANDLES)[..., 3]
    following = dict(zip(close[:-1].ravel(), close[1:].ravel(), strict=True))

    def ahead(candles: Floats) -> Floats:
        last = candles[:, -1, 3]
        return np.array([[following.get(one, np.nan) / one] for one in last])

    (check,) = [one for one in candle_checks(of_candles(ahead)) if "noise" in one.name]
    with pytest.raises(BreachError, match="one foretells a random walk"):
        check()


def test_a_sound_candle_set_passes() -> None:
    for check in candle_checks(Second()):
        check()


def test_a_sound_feature_set_passes() -> None:
    for check in feature_checks(of(lambda x: x[:, :1])):
        check()
