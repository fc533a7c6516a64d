"""Rows say how far their features are from what those who speak were fitted on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from domain.events import FeatureBatch, Floats, Role, Target
from tests.unit.predictions.test_predictor import Constant, Room, direction, features


@dataclass(frozen=True)
class Fitted(Constant):
    """A forecaster that knows its training rows, and counts how often it is asked."""

    reference: object | None = None
    distance: float = 0.0
    asked: list[str] = field(default_factory=list)

    def dissimilarity(self, features: FeatureBatch) -> Floats:
        self.asked.append(self.name)
        return np.full(len(features), self.distance)


def fitted(name: str, distance: float, reference: object | None) -> Fitted:
    said = direction(name, 0.2, 0.3, 0.5)
    return Fitted(name, Target.DIRECTION, said.says, reference=reference, distance=distance)


def told(room: Room, number: int) -> dict[str, Floats | None]:
    """By model, of all rows of a tick."""
    batch = features(number)
    rows = [*room.predictor.on_features(batch), *room.predictor.on_features_published(batch)]
    return {one.model: one.dissimilarity for one in rows}


def test_a_fitted_version_tells_its_own_distance_and_baselines_none() -> None:
    room, trained = Room(), object()
    first = fitted("xgboost.direction", 0.5, trained)
    second = fitted("lightgbm.direction", 0.5, trained)
    room.predictor.seat(first, Role.MEMBER)
    room.predictor.seat(second, Role.CHALLENGER)
    room.predictor.seat(fitted("logistic.direction", 9.0, None), Role.MEMBER)

    distances = told(room, 5)

    for name in ("xgboost.direction", "lightgbm.direction"):
        np.testing.assert_array_equal(distances[name], [0.5, 0.5])
    assert distances["class_prior.direction"] is None
    assert distances["logistic.direction"] is None
    assert distances["pool.direction"] is None
    # The same rows are measured from once a chain: before the served row, and after it.
    assert len(first.asked) + len(second.asked) == 2


def test_the_served_row_tells_the_largest_of_those_that_it_is_composed_of() -> None:
    room = Room()
    room.predictor.seat(fitted("xgboost.direction", 0.5, object()), Role.MEMBER)
    room.predictor.seat(fitted("lightgbm.direction", 2.0, object()), Role.MEMBER)
    room.predictor.seat(fitted("logistic.direction", 7.0, object()), Role.CHALLENGER)

    assert room.tick(5).dissimilarity is None  # baselines serve

    room.judge(Target.DIRECTION, no_skill=False)
    np.testing.assert_array_equal(room.tick(6).dissimilarity, [2.0, 2.0])
