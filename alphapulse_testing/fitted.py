"""What every kind that is fitted must do: `fitted_checks(KIND)` in a parametrised test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from alphapulse_testing.check import Check, checks, require
from alphapulse_testing.forecasts import OF_EVERY_MODEL, well_formed
from alphapulse_testing.panel import (
    EXAMPLES,
    HORIZON,
    HOUR_MS,
    MODEL_COLUMNS,
    PANEL,
    new_rows,
    past_of,
)
from alphapulse_testing.sequences import OF_SEQUENCES
from domain.errors import ArtifactError
from domain.events import Examples, Target
from domain.losses import deciding_loss
from domain.ports import Model
from services.models.artifacts import open_model
from services.models.bundle import read_bundle, write_bundle
from services.models.catalogue import Catalogue
from services.models.fitting import FitResult, FitTask, fit
from services.models.forecaster import Table
from services.models.kinds import FittedKind
from services.models.recipes import LONGEST_PAST, Recipe
from services.models.walk_forward import SplitKind

PICKLED: Final = b"\x80"  # how what pickle writes begins, from its protocol 2 on
SMALL: Final = {"trees": 30, "min_child": 5.0}  # where a recipe has them: there are 750 rows
ONE_THREAD: Final = 1.3  # processors; two threads are near 2
SLACK_S: Final = 0.1
TOLERANCE: Final = 3.0  # standard errors
UNKNOWN: Final = 0.2  # share of values
ADDITIVE: Final = 1e-4  # how far the parts of a raw score may be from it


@dataclass
class Fit:
    """A kind, and one of its recipes."""

    kind: FittedKind
    recipe: Recipe
    reads_rows: bool = True

    @property
    def name(self) -> str:
        return self.recipe.name

    @cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue(fitted=(self.kind,), online=())

    @cached_property
    def artifact(self) -> bytes:
        return self.fit(EXAMPLES).artifact

    @cached_property
    def taught(self) -> Model:
        return self.open(self.artifact)

    def fit(self, examples: Examples) -> FitResult:
        """Of the past a kind that reads it gets what of the panel is before each example."""
        if self.recipe.past:
            examples = replace(examples, past=past_of(examples, self.recipe.past))
        task = FitTask(
            recipe=self.recipe.changed(**SMALL),
            horizon=HORIZON,
            horizon_ms=HORIZON * HOUR_MS,
            columns=MODEL_COLUMNS,
            examples=examples,
            split=SplitKind.LEAN,
            seed=7,
        )
        return fit(task, self.catalogue)

    def open(self, artifact: bytes) -> Model:
        return open_model(artifact, "1", self.catalogue)


def fitted_checks(kind: FittedKind) -> list[Check]:
    """The suite, of each target that the kind forecasts."""
    subjects = [Fit(kind, recipe) for recipe in kind.recipes]
    return [one for subject in subjects for one in checks(subject, _promises(subject))]


def _promises(subject: Fit) -> tuple[Callable[[Fit], None], ...]:
    of_sequences = OF_SEQUENCES if subject.recipe.past else ()
    return (*OF_EVERY_MODEL, *OF_FITTED, *of_sequences)


def a_recipe_is_of_its_kind(subject: Fit) -> None:
    require(subject.recipe.kind == subject.kind.name, f"a recipe of {subject.recipe.kind}")
    require("." not in subject.kind.name, "a name with a point")
    require(subject.recipe.target is not Target.SERVED, "what is served is nobody's target")
    require(0 <= subject.recipe.past <= LONGEST_PAST, f"a past beyond {LONGEST_PAST} candles")
    again = Recipe.read(subject.recipe.written())
    require(again == subject.recipe, "parameters that JSON does not keep")


def one_thread_fits_and_predicts(subject: Fit) -> None:
    """A thread takes no more of the processors than time goes by.

    Where they are busy several threads take no more either, and pass unseen.
    """
    began, busy = time.perf_counter(), time.process_time()
    for _ in range(3):
        subject.open(subject.fit(EXAMPLES).artifact).predict(new_rows())
    spent, passed = time.process_time() - busy, time.perf_counter() - began
    words = f"{spent:.2f} s of the processors in {passed:.2f} s: more than one thread"
    require(spent <= ONE_THREAD * passed + SLACK_S, words)


def two_fits_give_the_same_artifact(subject: Fit) -> None:
    require(subject.fit(EXAMPLES).artifact == subject.artifact, "two fits differ")


def a_fit_changes_no_example(subject: Fit) -> None:
    examples = EXAMPLES.take(np.arange(len(EXAMPLES)))
    before = {name: getattr(examples, name).copy() for name in ("features", "outcome", "weight")}
    subject.kind.fit(examples, MODEL_COLUMNS, subject.recipe.changed(**SMALL), HORIZON, 7)
    same = [np.array_equal(getattr(examples, name), old) for name, old in before.items()]
    require(all(same), "the examples were changed")


def an_artifact_forecasts_as_the_fit_did(subject: Fit) -> None:
    opened = subject.open(subject.artifact).predict(new_rows())
    require(np.array_equal(opened, subject.taught.predict(new_rows())), "opened it says otherwise")


def nothing_of_it_is_a_pickle(subject: Fit) -> None:
    _, files = read_bundle(subject.artifact)
    pickled = [name for name, content in files.items() if content.startswith(PICKLED)]
    require(not pickled, f"{', '.join(pickled)} would run what is in it")


def a_file_that_cannot_be_read_is_refused(subject: Fit) -> None:
    description, files = read_bundle(subject.artifact)
    if not files:
        return
    for broken in (dict.fromkeys(files, b"broken"), {}):
        try:
            subject.open(write_bundle(description, broken))
        except ArtifactError:
            continue
        require(condition=False, words="a broken file was opened, and no ArtifactError raised")


def one_class_and_a_constant_column_are_enough_to_fit(subject: Fit) -> None:
    features = EXAMPLES.features.copy()
    features[:, PANEL.columns.index("noise")] = 1.0
    features[:, PANEL.columns.index("hour")] = np.nan
    same = replace(EXAMPLES, features=features, outcome=np.ones(len(EXAMPLES)))
    model = subject.open(subject.fit(same).artifact)
    output = model.predict(new_rows())
    well_formed(model.target, output)
    if model.target is Target.DIRECTION:
        require((output[:, 2] > 0.9).all(), "one class was seen, and is not forecast")


def unusable_rows_are_refused(subject: Fit) -> None:
    unknown = replace(EXAMPLES, features=np.full_like(EXAMPLES.features, np.nan))
    try:
        subject.fit(unknown)
    except ValueError:
        return
    require(condition=False, words="rows without a known feature were fitted, no ValueError raised")


def noise_is_not_forecast(subject: Fit) -> None:
    """Answers in another order have nothing to do with the rows: who beats the baseline peeks."""
    order = np.random.default_rng(11).permutation(len(EXAMPLES))
    noise = replace(
        EXAMPLES,
        outcome=EXAMPLES.outcome[order],
        log_return=EXAMPLES.log_return[order],
        realized_volatility=EXAMPLES.realized_volatility[order],
    )
    judged = subject.fit(noise).judged
    constant = np.full_like(judged.forecast, np.nan)
    target = subject.recipe.target
    if target is Target.DIRECTION:
        seen = EXAMPLES.outcome.astype(np.int64) + 1
        constant[:] = np.bincount(seen, minlength=3) / len(seen)
    elif target is Target.VOLATILITY:
        constant[:] = np.sqrt((EXAMPLES.realized_volatility**2).mean())
    else:
        constant[:] = np.quantile(EXAMPLES.log_return, (0.1, 0.5, 0.9))
    better = deciding_loss(target, constant, judged.answer) - judged.losses
    better = better[np.isfinite(better)]
    limit = TOLERANCE * better.std() / np.sqrt(len(better))
    require(better.mean() <= limit, f"noise is forecast: {better.mean():.4f} above {limit:.4f}")


def what_it_explains_adds_up_to_what_it_forecasts(subject: Fit) -> None:
    """A kind need not explain; if it does, then what is said, of unknown values too."""
    holes = np.random.default_rng(5).random(new_rows().values.shape) < UNKNOWN
    for values in (new_rows().values, np.where(holes, np.nan, new_rows().values)):
        table = Table(PANEL.columns, values)
        model = open_model(subject.artifact, "1", subject.catalogue)
        explanation = model.explain(table)
        if explanation is None:
            return
        parts = explanation.base + explanation.contributions.sum(axis=2)
        off = np.abs(parts - explanation.margin).max()
        require(off <= ADDITIVE, f"base and contributions are {off:.2g} from the raw score")
        said, told = model.forecast(table), explanation.forecast()
        known = np.isfinite(said)
        require(known.any(), "nothing is forecast")
        same = np.allclose(told[known], said[known], rtol=1e-9, atol=0)
        require(same, "the raw scores that it explains are not those that it forecasts with")


OF_FITTED: Final[tuple[Callable[[Fit], None], ...]] = (
    a_recipe_is_of_its_kind,
    two_fits_give_the_same_artifact,
    a_fit_changes_no_example,
    an_artifact_forecasts_as_the_fit_did,
    nothing_of_it_is_a_pickle,
    a_file_that_cannot_be_read_is_refused,
    one_class_and_a_constant_column_are_enough_to_fit,
    unusable_rows_are_refused,
    noise_is_not_forecast,
    what_it_explains_adds_up_to_what_it_forecasts,
    one_thread_fits_and_predicts,
)
