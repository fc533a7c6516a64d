"""The device that a fit runs on: asked for, found out, written down."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from alphapulse_testing.panel import EXAMPLES, HORIZON, HOUR_MS, MODEL_COLUMNS
from backend.devices import refuse_absent
from backend.learning.plan import LearningPlan
from backend.settings import Settings
from backend.training_settings import TrainingSettings
from domain.errors import UsageError
from domain.market import Timeframe
from services.models.boosters import LIGHTGBM, XGBOOST, BoosterKind
from services.models.catalogue import BUILT_IN
from services.models.devices import settled
from services.models.fitting import FitTask, fit
from services.models.logistic import LOGISTIC
from services.models.recipes import Recipe
from services.models.walk_forward import SplitKind

DIRECTION = XGBOOST.recipes[0]
EVERY = ("xgboost.direction", "catboost.direction", "lightgbm.direction", "logistic.direction")


@dataclass(frozen=True, slots=True)
class Asked(BoosterKind):
    """XGBoost where a GPU is there, or is not for the reason given."""

    reason: str = ""

    def without_cuda(self) -> str:
        return self.reason


def asked(reason: str) -> Asked:
    return Asked("xgboost", XGBOOST.recipes, XGBOOST.distributions, reason)


@pytest.mark.parametrize(
    ("wanted", "reason", "used"),
    [("cpu", "", "cpu"), ("cpu", "none", "cpu"), ("auto", "none", "cpu"), ("auto", "", "cuda"),
     ("cuda", "", "cuda")],
)  # fmt: skip
def test_auto_is_a_gpu_where_one_works(wanted: str, reason: str, used: str) -> None:
    recipe = settled(DIRECTION.changed(device=wanted), asked(reason))

    assert recipe == DIRECTION.changed(device=used)


def test_a_gpu_that_is_not_there_is_refused_and_not_replaced() -> None:
    with pytest.raises(UsageError, match=r"^xgboost\.direction cannot be fitted on cuda: no GPU$"):
        settled(DIRECTION.changed(device="cuda"), asked("no GPU"))


def test_a_kind_that_cannot_choose_is_not_asked() -> None:
    for kind in (LIGHTGBM, LOGISTIC):
        for recipe in kind.recipes:
            assert "device" not in recipe.parameters
            assert settled(recipe.changed(device="cuda"), kind) == recipe


def test_a_plugin_that_does_not_say_what_it_can_is_fitted_on_the_cpu() -> None:
    recipe = Recipe(kind="logistic", target=DIRECTION.target, parameters={"device": "auto"})

    assert settled(recipe, LOGISTIC).parameters == {"device": "cpu"}
    with pytest.raises(UsageError, match="it is fitted on the CPU"):
        settled(recipe.changed(device="cuda"), LOGISTIC)


def test_what_was_used_is_written_down() -> None:
    """This build of XGBoost has no GPU in it, wherever it runs."""
    task = FitTask(
        recipe=DIRECTION.changed(trees=3, device="auto"),
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=EXAMPLES,
        split=SplitKind.LEAN,
        seed=7,
    )

    chosen = fit(task)

    asked_for = fit(replace(task, recipe=task.recipe.changed(device="cpu")))
    assert chosen.params["device"] == "cpu"
    assert (chosen.sha256, chosen.recipe_sha256) == (asked_for.sha256, asked_for.recipe_sha256)
    with pytest.raises(UsageError, match="this XGBoost was built without it"):
        fit(replace(task, recipe=task.recipe.changed(device="cuda")))


def test_settings_name_it_for_those_that_can_choose() -> None:
    settings = TrainingSettings(kinds=EVERY, device="auto")

    plan = LearningPlan.of(settings, Timeframe.H1, seed=1)

    devices = {one.name: one.parameters.get("device") for one in plan.recipes}
    assert devices == {
        "xgboost.direction": "auto",
        "catboost.direction": "auto",
        "lightgbm.direction": None,
        "logistic.direction": None,
    }
    default = LearningPlan.of(TrainingSettings(kinds=EVERY), Timeframe.H1, seed=1)
    assert all(one == BUILT_IN.recipes[one.name] for one in default.recipes)


async def test_a_start_that_needs_a_gpu_is_refused_in_one_line() -> None:
    kinds = ("logistic.direction", "xgboost.direction")

    with pytest.raises(UsageError) as refusal:
        await refuse_absent(Settings(training=TrainingSettings(kinds=kinds, device="cuda")))

    assert str(refusal.value).startswith("xgboost.direction cannot be fitted on cuda: this XGBoost")
    assert "\n" not in str(refusal.value)
