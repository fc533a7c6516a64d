"""A variant is its kind with other parameters, under a name of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from alphapulse_testing.panel import EXAMPLES, HORIZON, HOUR_MS, MODEL_COLUMNS, past_of
from domain.errors import UsageError
from domain.events import Target
from services.models.artifacts import open_model
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitTask, fit
from services.models.forecaster import Table
from services.models.network_kind import GRU
from services.models.recipes import Recipe
from services.models.variants import Variant, with_variant
from services.models.walk_forward import SplitKind

STIFF = Variant.of("stiff", "logistic", 30, {"direction": {"l2": 5_000}})
CATALOGUE = with_variant(BUILT_IN, STIFF)


def task(recipe: Recipe) -> FitTask:
    return FitTask(
        recipe=recipe,
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=EXAMPLES,
        split=SplitKind.LEAN,
        seed=7,
    )


def refused(name: str, kind: str, differing: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        with_variant(BUILT_IN, Variant.of(name, kind, 1, differing))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_variant_says_what_its_kind_with_those_parameters_says() -> None:
    ours = fit(task(CATALOGUE.recipes["stiff.direction"]), CATALOGUE)
    theirs = fit(task(BUILT_IN.recipes["logistic.direction"].changed(l2=5_000.0)))

    model = open_model(ours.artifact, "3", CATALOGUE)

    assert (model.name, model.version, model.target) == ("stiff.direction", "3", Target.DIRECTION)
    assert np.array_equal(ours.judged.forecast, theirs.judged.forecast)
    assert model.explain(Table.of(EXAMPLES.take(np.arange(3)))) is not None
    assert model.reference is not None
    assert ours.libraries == theirs.libraries


@pytest.mark.parametrize("candles", [0, -1, 513])
def test_a_past_has_bounds(candles: int) -> None:
    gru = replace(BUILT_IN, fitted=(GRU,))

    with pytest.raises(UsageError, match=r"long.direction.past = -?\d+: it is 1 to 512 candles"):
        with_variant(gru, Variant.of("long", "gru", 1, {"direction": {"past": candles}}))


def test_a_variant_reads_as_far_back_as_it_says() -> None:
    gru = replace(BUILT_IN, fitted=(GRU,))
    short = with_variant(
        gru, Variant.of("short", "gru", 1, {"direction": {"past": 3, "epochs": 1}})
    )
    recipe = short.recipes["short.direction"]

    examples = replace(EXAMPLES, past=past_of(EXAMPLES, recipe.past))
    model = open_model(fit(replace(task(recipe), examples=examples), short).artifact, "1", short)

    assert (recipe.past, model.past, GRU.recipes[0].past) == (3, 3, 15)


def test_its_trials_are_in_its_recipe_and_those_of_one_never_searched_are_not() -> None:
    recipe = CATALOGUE.recipes["stiff.direction"]

    result = fit(task(recipe), CATALOGUE)

    assert recipe.n_trials == result.n_trials == result.params["n_trials"] == 30
    assert Recipe.read(recipe.written()) == recipe
    assert recipe.sha256 != replace(recipe, n_trials=31).sha256
    assert "n_trials" not in BUILT_IN.recipes["logistic.direction"].written()


def test_only_the_targets_that_are_named_are_forecast() -> None:
    shallow = Variant.of("shallow", "lightgbm", 2, {"volatility": {"depth": 2}})

    (recipe,) = with_variant(BUILT_IN, shallow).kinds["shallow"].recipes

    assert recipe.name == "shallow.volatility"
    assert recipe.parameters["depth"] == 2
    assert recipe.parameters["trees"] == BUILT_IN.recipes["lightgbm.volatility"].parameters["trees"]


def test_what_cannot_be_is_said_in_one_line() -> None:
    depth = {"volatility": {"depth": 3}}
    assert "unknown kind of model 'lightgb'; nearest: lightgbm" in refused("a", "lightgb", depth)
    assert "'a.volatility.dept'; nearest: a.volatility.depth" in refused(
        "a", "lightgbm", {"volatility": {"dept": 3}}
    )
    assert "xgboost does not forecast quantiles" in refused("a", "xgboost", {"quantiles": {}})
    assert "names no target" in refused("a", "xgboost", {})
    for name in ("xgboost", "river", "pool", "har"):
        assert f"variant {name}: that name is taken" in refused(name, "lightgbm", depth)
    assert "small letters" in refused("a.b", "lightgbm", depth)
    with pytest.raises(UsageError, match="stiff is a variant"):
        with_variant(CATALOGUE, Variant.of("a", "stiff", 1, {"direction": {"l2": 1}}))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("depth", 2.5, "a whole number, like 4"),
        ("depth", "deep", "a whole number, like 4"),
        ("depth", 0, "0 is not from 1 to 16"),
        ("row_fraction", 1.5, "1.5 is not from 0.01 to 1"),
        ("l2", float("nan"), "a number, like 10.0"),
        ("l2", -1, "-1 is not from 0 on"),
    ],
)
def test_a_value_that_the_library_would_refuse_is_refused(
    name: str, value: float | str, words: str
) -> None:
    assert words in refused("a", "lightgbm", {"volatility": {name: value}})
