"""The room of class labels: what is told once, what is said of it, and who serves."""

from __future__ import annotations

import numpy as np
import pytest

from domain.classes import VOID, ClassLabelBatch
from domain.events import FeatureBatch, Floats
from domain.market import from_ms
from services.classes.regime import REGIME
from services.classes.room import PRIOR_VERSION, prior_of
from services.classes.rotation import ROTATION
from tests.unit.classes.walked import NAMES, features, hour, labels, room, told, walk

RETURNS = np.random.default_rng(3).normal(0, 0.01, (120, len(NAMES)))


class Sure:
    """Sure of a class, of all rows but the first."""

    name, version = "sure.regime", "7"

    def probabilities(self, features: FeatureBatch) -> Floats:
        said = np.tile(np.eye(6)[2], (len(features), 1))
        said[0] = np.nan
        return said


def test_each_label_is_told_once_with_the_close_that_made_it_known() -> None:
    _, came = walk(room(REGIME, ROTATION), RETURNS)

    rotation = [batch for batch in came if batch.kind == "rotation@1"]
    assert [batch.instruments for batch in rotation] == [NAMES[1:2]] * 116
    assert {int(batch.known_ms[0] - batch.as_of_ms[0]) for batch in came} == {hour(4) - hour(0)}
    regimes = [batch for batch in came if batch.kind == "regime@1"]
    # 50 labels are known at close 53; the label of that close is told at 57.
    assert int(regimes[0].as_of_ms[0]) == hour(53)
    assert len(told(came)) == sum(map(len, came))


def test_the_same_label_again_is_no_news_and_another_is_a_revision() -> None:
    classes = room(ROTATION)
    _, came = walk(classes, RETURNS)
    before = told(came)["rotation@1", hour(100), NAMES[1], 1]
    other = RETURNS[100].copy()
    other[1] += 1.0 if before == 0 else -1.0

    assert list(classes.on_labels(labels(100, RETURNS[100], known=119))) == []
    (again,) = classes.on_labels(labels(100, other, known=120))

    assert (again.revision.tolist(), again.classes.tolist()) == ([2], [1 - before])
    assert again.known_ms.tolist() == [hour(120)]


def test_a_hole_is_void_until_it_is_filled() -> None:
    classes = room(ROTATION)
    walk(classes, RETURNS)
    holed = RETURNS[116].copy()
    holed[1] = np.nan

    (void,) = classes.on_labels(labels(116, holed))
    (filled,) = classes.on_labels(labels(116, RETURNS[116], known=130))

    assert (void.classes.tolist(), void.revision.tolist()) == ([VOID], [1])
    assert (filled.classes.tolist()[0] >= 0, filled.revision.tolist()) == (True, [2])


def test_the_prior_is_of_what_was_known_before_the_close() -> None:
    said, came = walk(room(ROTATION), RETURNS)

    first = next(batch for batch in said if batch.as_of == from_ms(hour(54)))
    known = [batch.classes[0] for batch in came if batch.known_ms[0] < hour(54)]
    assert len(known) == 50
    assert first.probabilities[0].tolist() == prior_of(np.bincount(known)).tolist()
    assert (first.model, first.version) == ("class_prior.rotation", PRIOR_VERSION)
    assert first.degraded == ("no_skill",)
    assert said[0].degraded == ("warming_up,no_skill",)


def test_a_prior_is_equal_for_all_before_50_labels_and_never_0_after() -> None:
    assert prior_of(np.array([49, 0])).tolist() == [0.5, 0.5]
    assert prior_of(np.array([50, 0])).tolist() == [51 / 52, 1 / 52]


@pytest.mark.parametrize("serves", [True, False])
def test_one_model_serves_each_row(serves: bool) -> None:  # noqa: FBT001 - a case
    classes = room(REGIME)
    classes.seat("regime@1", Sure(), serves=serves)

    sure, prior = classes.on_features(features(0))

    assert (sure.model, sure.version, sure.instruments) == ("sure.regime", "7", NAMES[1:])
    assert sure.served.tolist() == [serves] * 3
    assert prior.served.tolist() == [True, *([not serves] * 3)]
    assert prior.instruments == NAMES
    assert ("no_skill" in prior.degraded[0]) is not serves


def test_of_history_only_the_prior_says_something() -> None:
    classes = room(REGIME, at=50)
    classes.seat("regime@1", Sure(), serves=True)

    (prior,) = classes.on_features(features(0))

    assert (prior.model, prior.origin) == ("class_prior.regime", "backtest")


def test_a_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    whole, first, second = room(REGIME, ROTATION), room(REGIME, ROTATION), room(REGIME, ROTATION)
    _, came = walk(whole, RETURNS)

    _, begun = walk(first, RETURNS[:80])
    second.restore(first.snapshot())
    rest = list[ClassLabelBatch]()
    for number in range(80, len(RETURNS)):
        list(second.on_features(features(number)))
        rest += second.on_labels(labels(number - 4, RETURNS[number - 4]))

    assert told([*begun, *rest]) == told(came)
    assert second.snapshot() == whole.snapshot()


def test_a_snapshot_of_other_kinds_is_left_alone() -> None:
    before, after = room(ROTATION), room(REGIME)
    walk(before, RETURNS)

    after.restore(before.snapshot())

    assert after.snapshot() == room(REGIME).snapshot()
