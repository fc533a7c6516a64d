"""The served row: who composes it, what degrades it, and what it learns from labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pytest

from domain.events import (
    FeatureBatch,
    FeatureSet,
    Floats,
    LabelBatch,
    Origin,
    PredictionBatch,
    Role,
    Skill,
    Target,
)
from domain.market import Instrument, Timeframe, to_ms
from services.predictions.predictor import Predictor
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH

HOUR = timedelta(hours=1)
SET = FeatureSet(name="f", version=1, columns=("x",), model_columns=("x",), warmup_bars=3)


@dataclass(frozen=True)
class Constant:
    """A forecaster that says the same of every row."""

    name: str
    target: Target
    says: Callable[[int], Floats]
    version: str = "1"

    def predict(self, features: FeatureBatch) -> Floats:
        return self.says(len(features))


def direction(name: str, *p: float, version: str = "1") -> Constant:
    return Constant(name, Target.DIRECTION, lambda n: np.tile(np.array(p), (n, 1)), version)


def volatility(name: str, sigma: float) -> Constant:
    return Constant(name, Target.VOLATILITY, lambda n: np.full(n, sigma))


@dataclass
class Room:
    """A predictor with every baseline, and a clock at each tick's close."""

    clock: ManualClock = field(default_factory=ManualClock)
    sigma: float = 0.02

    def __post_init__(self) -> None:
        self.predictor = Predictor(
            exchange="simulated", timeframe=Timeframe.H1, horizon=4, clock=self.clock
        )
        z = np.array([-1.28, 0.0, 1.28])
        sigma = self.sigma
        for model in (
            direction("class_prior.direction", 0.3, 0.4, 0.3),
            volatility("ewma.volatility", sigma),
            volatility("har.volatility", sigma),
            Constant("empirical.quantiles", Target.QUANTILES, lambda n: np.tile(z * sigma, (n, 1))),
        ):
            self.predictor.seat(model, Role.MEMBER)

    def tick(self, number: int, coverage: float = 1.0) -> PredictionBatch:
        *_, champion = self.predictor.on_features(features(number, coverage))
        assert isinstance(champion, PredictionBatch)
        return champion

    def judge(self, target: Target, *, no_skill: bool) -> None:
        self.predictor.on_skill(skill(target, no_skill=no_skill))


def features(number: int, coverage: float = 1.0) -> FeatureBatch:
    as_of = START + number * HOUR
    return FeatureBatch(
        exchange="simulated",
        timeframe=Timeframe.H1,
        as_of=as_of,
        instruments=(BTC, ETH),
        feature_set=SET,
        values=np.zeros((2, 1)),
        coverage=np.full(2, coverage),
        revision=np.ones(2, dtype=np.int64),
        candle_revision=np.ones(2, dtype=np.int64),
        known_at=as_of,
    )


def labels(number: int, outcome: float, log_return: float = 0.0) -> LabelBatch:
    as_of_ms = to_ms(START + number * HOUR)
    two = np.ones(2)
    return LabelBatch(
        exchange="simulated",
        timeframe=Timeframe.H1,
        horizon=4,
        instruments=(BTC, ETH),
        as_of_ms=np.full(2, as_of_ms),
        revision=np.ones(2, dtype=np.int64),
        direction_known_ms=np.full(2, as_of_ms + 4 * Timeframe.H1.ms),
        known_ms=np.full(2, as_of_ms + 4 * Timeframe.H1.ms),
        outcome=two * outcome,
        weight=two,
        log_return=two * log_return,
        realized_volatility=two * 0.02,
        uniqueness=two,
    )


def skill(target: Target, *, no_skill: bool) -> Skill:
    return Skill(
        exchange="simulated",
        timeframe=Timeframe.H1,
        horizon=4,
        target=target,
        at=START,
        baseline="class_prior.direction",
        skill=0.05,
        low=0.01,
        high=0.09,
        blocks=60,
        count=1,
        no_skill=no_skill,
    )


def test_without_a_verdict_the_baselines_serve_and_the_row_says_so() -> None:
    room = Room()
    room.predictor.seat(direction("xgboost.direction", 0.1, 0.1, 0.8), Role.MEMBER)

    champion = room.tick(5)

    assert champion.probabilities[0].tolist() == [0.3, 0.4, 0.3]
    assert champion.members == {
        "class_prior.direction": "1",
        "empirical.quantiles": "1",
        "ewma.volatility": "1",
    }
    assert champion.degraded[0].split(",") == [
        "warming_up",
        "no_skill.direction",
        "no_skill.quantiles",
        "no_skill.volatility",
    ]


def test_once_the_gate_opens_the_pool_serves() -> None:
    room = Room()
    room.predictor.seat(direction("xgboost.direction", 0.1, 0.1, 0.8), Role.MEMBER)
    room.judge(Target.DIRECTION, no_skill=False)

    champion = room.tick(5)

    assert champion.probabilities[0, 2] > 0.5
    assert "xgboost.direction" in champion.members
    assert "no_skill.direction" not in champion.degraded[0]


def test_a_row_is_stale_once_nothing_has_come_true_for_three_horizons() -> None:
    """Of a system that was never told anything nobody says so: it is warming up."""
    room = Room()
    assert "stale" not in room.tick(100).degraded[0]
    room.predictor.on_labels(labels(96, outcome=1.0))

    said = {number: "stale" in room.tick(number).degraded[0] for number in (101, 108, 109, 120)}
    room.predictor.on_labels(labels(117, outcome=1.0))

    assert said == {101: False, 108: False, 109: True, 120: True}
    assert "stale" not in room.tick(121).degraded[0]


def test_a_warm_row_is_not_warming_up_and_a_hole_is_a_gap() -> None:
    room = Room()
    room.tick(1)
    room.tick(2)

    whole, holed = room.tick(3), room.tick(4, coverage=0.9)

    assert "warming_up" not in whole.degraded[0]
    assert "gap" in holed.degraded[0]


def test_one_candle_that_may_still_come_is_a_gap_and_one_that_cannot_is_none() -> None:
    room = Room()
    room.tick(1)
    for number in (2, 3):
        room.tick(number, coverage=0.995)
    missing: dict[Instrument, list[tuple[int, int]]] = {}
    room.predictor.on_gaps(missing)
    assert "gap" not in room.tick(4, coverage=0.995).degraded[0]

    third = to_ms(START + 2 * HOUR)
    missing[BTC] = [(third, third + Timeframe.H1.ms)]

    assert ["gap" in codes for codes in room.tick(5, coverage=0.995).degraded] == [True, False]
    assert "gap" not in room.tick(6).degraded[0]  # it has come
    missing[BTC] = [(to_ms(START + 6 * HOUR), to_ms(START + 7 * HOUR))]
    assert "gap" not in room.tick(7, coverage=0.995).degraded[0]  # its own candle is there


@pytest.mark.parametrize(
    ("hours_late", "origin"), [(0, Origin.LIVE), (1, Origin.LATE), (4, Origin.BACKTEST)]
)
def test_the_origin_follows_from_when_it_was_made(hours_late: int, origin: Origin) -> None:
    clock = ManualClock(START + (5 + hours_late) * HOUR)

    champion = Room(clock=clock).tick(5)

    assert champion.origin is origin
    assert ("late" in champion.degraded[0]) == (origin is Origin.LATE)


def test_a_prediction_is_not_made_before_its_candles_were_known() -> None:
    behind = ManualClock(START + 5 * HOUR - timedelta(milliseconds=3))

    assert Room(clock=behind).tick(5).made_at == START + 5 * HOUR


def test_members_vote_before_the_served_row_and_the_rest_follows_once() -> None:
    room = Room()
    room.predictor.seat(direction("xgboost.direction", 0.1, 0.1, 0.8), Role.MEMBER)
    room.predictor.seat(direction("river.direction", 0.2, 0.2, 0.6), Role.CHALLENGER)

    hot = [(batch.role, batch.model) for batch in room.predictor.on_features(features(5))]
    cold = [
        (batch.role, batch.model) for batch in room.predictor.on_features_published(features(5))
    ]

    assert hot[-1] == (Role.CHAMPION, "served")
    assert (Role.CHALLENGER, "river.direction") in cold
    assert {"pool.direction", "pool.quantiles", "pool.volatility"} <= {name for _, name in cold}
    assert len({*hot, *cold}) == len(hot) + len(cold)


def test_a_name_has_one_place() -> None:
    room = Room()
    room.predictor.seat(direction("xgboost.direction", 0.1, 0.1, 0.8), Role.MEMBER)
    room.predictor.seat(direction("xgboost.direction", 0.2, 0.2, 0.6, version="2"), Role.CHALLENGER)

    rows = [*room.predictor.on_features(features(5))]
    rows += room.predictor.on_features_published(features(5))

    versions = {(r.role, r.version) for r in rows if r.model == "xgboost.direction"}
    assert versions == {(Role.CHALLENGER, "2")}


def said_by(room: Room, number: int) -> dict[str, PredictionBatch]:
    """All rows of a tick by model."""
    batch = features(number)
    rows = [*room.predictor.on_features(batch), *room.predictor.on_features_published(batch)]
    return {row.model: row for row in rows}


NONE = (np.nan, np.nan, np.nan)


@pytest.mark.parametrize(
    "wrong", [NONE, (0.5, np.nan, 0.5), (0.1, 0.1, np.inf), (0.5, 0.5, 0.5), (-0.1, 0.5, 0.6)]
)
@pytest.mark.parametrize("role", [Role.MEMBER, Role.CHALLENGER])
def test_who_gives_no_forecast_is_not_heard_once(role: Role, wrong: tuple[float, ...]) -> None:
    room = Room()
    room.predictor.seat(direction("right.direction", 0.1, 0.1, 0.8), Role.MEMBER)
    room.predictor.seat(direction("broken.direction", *wrong, version="3"), role)
    room.judge(Target.DIRECTION, no_skill=False)
    alone = Room()
    alone.predictor.seat(direction("right.direction", 0.1, 0.1, 0.8), Role.MEMBER)
    alone.judge(Target.DIRECTION, no_skill=False)

    said, without = said_by(room, 5), said_by(alone, 5)

    assert "broken.direction" not in said
    assert np.array_equal(said["served"].probabilities, without["served"].probabilities)
    (broken,) = room.predictor.broken()
    assert (broken.name, broken.version, broken.role) == ("broken.direction", "3", role)
    assert room.predictor.broken() == ()
    assert "broken.direction" not in said_by(room, 6)


def test_a_prior_that_is_left_alone_serves_and_says_that_it_has_no_skill() -> None:
    room = Room()
    room.predictor.seat(direction("broken.direction", *NONE), Role.MEMBER)
    room.judge(Target.DIRECTION, no_skill=False)

    served = said_by(room, 5)["served"]

    assert served.probabilities[0].tolist() == [0.3, 0.4, 0.3]
    assert "no_skill.direction" in served.degraded[0]


def test_a_row_may_be_left_unanswered_while_a_feature_of_it_is_unknown() -> None:
    room = Room()
    some = np.array([[0.1, 0.1, 0.8], NONE])
    room.predictor.seat(Constant("some.direction", Target.DIRECTION, lambda _: some), Role.MEMBER)
    batch = replace(features(5), values=np.array([[1.0], [np.inf]]))

    said = {row.model for row in room.predictor.on_features(batch)}

    assert "some.direction" in said
    assert room.predictor.broken() == ()


@pytest.mark.parametrize(
    ("target", "wrong"),
    [(Target.VOLATILITY, 0.0), (Target.VOLATILITY, -1.0), (Target.QUANTILES, (1.0, 0.0, 2.0))],
)
def test_a_volatility_is_above_0_and_quantiles_are_in_order(target: Target, wrong: object) -> None:
    room = Room()
    name = f"broken.{target}"
    model = Constant(name, target, lambda n: np.array([wrong] * n, dtype=np.float64))
    room.predictor.seat(model, Role.MEMBER)

    assert name not in said_by(room, 5)
    assert [one.name for one in room.predictor.broken()] == [name]


def test_the_member_that_is_right_gains_weight() -> None:
    room = Room()
    room.predictor.seat(direction("right.direction", 0.1, 0.1, 0.8), Role.MEMBER)
    room.predictor.seat(direction("wrong.direction", 0.8, 0.1, 0.1), Role.MEMBER)
    for number in range(1, 40):
        room.tick(number)
        if number > 4:
            room.predictor.on_labels(labels(number - 4, outcome=1.0))

    weights = room.predictor.weights()

    assert weights["right.direction"] > 0.9
    assert weights["wrong.direction"] < 0.05


def test_quantiles_never_cross_and_widen_when_returns_fall_outside() -> None:
    room = Room()
    first = room.tick(1)
    for number in range(2, 120):
        room.tick(number)
        if number > 4:
            room.predictor.on_labels(labels(number - 4, outcome=1.0, log_return=0.2))
    last = room.tick(120)

    assert (np.diff(last.quantiles, axis=1) >= 0).all()
    assert last.quantiles[0, 2] > first.quantiles[0, 2]


def test_a_restored_predictor_says_the_same_to_the_bit() -> None:
    room, copy = Room(), Room()
    room.judge(Target.QUANTILES, no_skill=False)
    for number in range(1, 30):
        room.tick(number)
        if number > 4:
            room.predictor.on_labels(labels(number - 4, outcome=-1.0, log_return=-0.03))
    copy.predictor.restore(room.predictor.snapshot())

    for number in range(30, 40):
        ours, theirs = room.tick(number), copy.tick(number)
        for one in (room, copy):
            one.predictor.on_labels(labels(number - 4, outcome=1.0, log_return=0.01))

        assert ours.quantiles.tobytes() == theirs.quantiles.tobytes()
        assert ours.degraded == theirs.degraded


def test_an_instrument_that_comes_late_for_a_tick_has_rows_and_lessons_of_its_own() -> None:
    early, late = Room(), Room()
    for room in (early, late):
        room.predictor.seat(direction("river.direction", 0.1, 0.1, 0.8), Role.CHALLENGER)
        room.predictor.seat(direction("xgboost.direction", 0.2, 0.1, 0.7), Role.MEMBER)
    tick = features(5)
    parts = [
        replace(
            tick,
            instruments=(instrument,),
            values=tick.values[row : row + 1],
            coverage=tick.coverage[row : row + 1],
            revision=tick.revision[row : row + 1],
            candle_revision=tick.candle_revision[row : row + 1],
        )
        for row, instrument in enumerate(tick.instruments)
    ]

    whole = [*early.predictor.on_features(tick), *early.predictor.on_features_published(tick)]
    first, second = (
        [*late.predictor.on_features(part), *late.predictor.on_features_published(part)]
        for part in parts
    )
    for room in (early, late):
        list(room.predictor.on_labels(labels(5, outcome=1)))

    assert [(one.model, len(one)) for one in first] == [(one.model, 1) for one in whole]
    assert [one.model for one in second] == [one.model for one in whole]
    assert {one.instruments for one in second} == {(ETH,)}
    assert late.predictor.snapshot() == early.predictor.snapshot()
