"""What everything that learns with each label must do: `online_checks(KIND)`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from alphapulse_testing.check import Check, checks, require
from alphapulse_testing.forecasts import OF_EVERY_MODEL
from alphapulse_testing.panel import EXAMPLES, HORIZON, MODEL_COLUMNS, new_rows, per_row
from domain.errors import ArtifactError
from domain.ports import Learner, Model
from services.models.baseline import Ewma
from services.models.har import Har
from services.models.kinds import OnlineKind

PICKLED: Final = b"\x80"
POISONED: Final = 600  # a row
STOPS: Final = (0, 30, 600)  # rows learnt before a snapshot


@dataclass
class Taught:
    """A learner under its name, begun as often as it is needed."""

    name: str
    begin: Callable[[], Learner]
    reads_rows: bool = True

    @cached_property
    def taught(self) -> Model:
        learner = self.begin()
        learner.learn(EXAMPLES)
        return learner


def online_checks(kind: OnlineKind) -> list[Check]:
    """The suite, of a kind that plug-ins may add."""
    return learner_checks(f"{kind.name}.{kind.target}", lambda: kind.begin(MODEL_COLUMNS, HORIZON))


def learner_checks(
    name: str, begin: Callable[[], Learner], *, reads_rows: bool = True
) -> list[Check]:
    """The suite, of any learner.

    Args:
        name: of the model.
        begin: makes one that has learnt nothing.
        reads_rows: whether its forecast depends on the row at all.
    """
    subject = Taught(name, begin, reads_rows)
    return checks(subject, (*OF_EVERY_MODEL, *OF_LEARNERS))


def untaught_it_answers_by_definition_or_not_at_all(subject: Taught) -> None:
    output = per_row(subject.begin().predict(new_rows()))
    whole = np.isfinite(output).all() or np.isnan(output).all()
    require(whole, "some rows are answered before anything is learnt")


def cutting_the_examples_into_batches_changes_nothing(subject: Taught) -> None:
    cut, edges = subject.begin(), [0, 1, 6, 100, 101, 640, len(EXAMPLES)]
    whole = subject.begin()
    whole.learn(EXAMPLES)
    for start, stop in itertools.pairwise(edges):
        cut.learn(EXAMPLES.take(np.arange(start, stop)))
    require(cut.snapshot() == whole.snapshot(), "another state is learnt from batches")
    same = np.array_equal(cut.predict(new_rows()), whole.predict(new_rows()))
    require(same, "another forecast is learnt from batches")


def a_restored_learner_continues_to_the_bit(subject: Taught) -> None:
    for learnt in STOPS:
        original, restored = subject.begin(), subject.begin()
        original.learn(EXAMPLES.take(np.arange(learnt)))
        restored.restore(original.snapshot())
        said, again = original.predict(new_rows()), restored.predict(new_rows())
        same = np.array_equal(said, again, equal_nan=True)
        require(same, f"restored after {learnt} it says otherwise")
        rest = EXAMPLES.take(np.arange(learnt, len(EXAMPLES)))
        original.learn(rest)
        restored.learn(rest)
        same = restored.snapshot() == original.snapshot()
        require(same, f"restored after {learnt} it learns otherwise")


def a_poisoned_example_is_not_learnt(subject: Taught) -> None:
    if not subject.reads_rows:
        return
    sound = subject.begin()
    sound.learn(EXAMPLES.take(np.delete(np.arange(len(EXAMPLES)), POISONED)))
    for poison in (np.nan, np.inf, -np.inf, 1e308):
        features = EXAMPLES.features.copy()
        features[POISONED] = poison
        poisoned = subject.begin()
        poisoned.learn(replace(EXAMPLES, features=features))
        same = np.array_equal(poisoned.predict(new_rows()), sound.predict(new_rows()))
        require(same, f"an example of {poison} was learnt")


def a_void_label_is_not_learnt(subject: Taught) -> None:
    sound, voided = subject.begin(), subject.begin()
    is_void = np.arange(len(EXAMPLES)) == POISONED
    sound.learn(EXAMPLES.take(~is_void))
    voided.learn(
        replace(
            EXAMPLES,
            outcome=np.where(is_void, np.nan, EXAMPLES.outcome),
            log_return=np.where(is_void, np.nan, EXAMPLES.log_return),
            realized_volatility=np.where(is_void, np.nan, EXAMPLES.realized_volatility),
        )
    )
    same = np.array_equal(voided.predict(new_rows()), sound.predict(new_rows()))
    require(same, "an example without a label was learnt")


def one_class_and_a_constant_column_can_be_learnt(subject: Taught) -> None:
    features = EXAMPLES.features.copy()
    features[:, EXAMPLES.columns.index("noise")] = 1.0
    learner = subject.begin()
    learner.learn(replace(EXAMPLES, features=features, outcome=np.ones(len(EXAMPLES))))
    known = np.isfinite(per_row(learner.predict(new_rows())))
    require(known.all(), "one class was seen, and nothing is forecast")


def the_state_of_another_model_is_refused(subject: Taught) -> None:
    other: Learner = (
        Har(horizon=HORIZON) if subject.name.startswith("ewma") else Ewma(horizon=HORIZON)
    )
    for state in (other.snapshot(), b"\x80 not a state"):
        try:
            subject.begin().restore(state)
        except ArtifactError:
            continue
        require(condition=False, words="it was restored from what is no state of its own")


def its_state_is_no_pickle(subject: Taught) -> None:
    learner = subject.begin()
    learner.learn(EXAMPLES.take(np.arange(30)))
    require(not learner.snapshot().startswith(PICKLED), "its state would run what is in it")


OF_LEARNERS: Final[tuple[Callable[[Taught], None], ...]] = (
    untaught_it_answers_by_definition_or_not_at_all,
    cutting_the_examples_into_batches_changes_nothing,
    a_restored_learner_continues_to_the_bit,
    a_poisoned_example_is_not_learnt,
    a_void_label_is_not_learnt,
    one_class_and_a_constant_column_can_be_learnt,
    the_state_of_another_model_is_refused,
    its_state_is_no_pickle,
)
