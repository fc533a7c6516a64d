"""All rooms of one (exchange, timeframe), joined into the chain that a tick runs through."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from domain.codec import pack, unpack
from domain.events import (
    CandleBatch,
    Examples,
    FeatureBatch,
    LabelBatch,
    OutcomeBatch,
    PredictionBatch,
    Role,
    SignalBatch,
    Target,
)
from domain.market import Listing, Timeframe
from domain.ports import Clock, Learner, Model
from domain.topics import CANDLES, FEATURES, LABELS, PREDICTIONS, SCORES, SIGNALS, SKILL
from services.features.engine import FeatureEngine
from services.features.feature_set import OHLCV
from services.labels.labeller import Labeller
from services.models.baseline import ClassPrior, EmpiricalQuantiles, Ewma
from services.models.examples import ExampleJoiner
from services.models.har import Har
from services.models.online import RiverSoftmax
from services.predictions.predictor import TARGETS, Predictor
from services.scores.gate import Gate
from services.scores.scorekeeper import Scorekeeper
from services.signals.book import SignalBook
from services.signals.policy import PolicySettings, SignalPolicy
from services.stage import Chain, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelKey:
    """Which panel: one owner each when the rooms run apart."""

    exchange: str
    timeframe: Timeframe


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatChange:
    """A fitted model that takes a role at the first close at or after `effective_from`."""

    model: Model
    role: Role
    horizon: int
    effective_from: datetime
    weights: Mapping[str, float] = field(default_factory=dict)  # earned on the locked holdout


class HorizonRooms:
    """The rooms that exist once per horizon."""

    def __init__(
        self, key: PanelKey, horizon: int, *, clock: Clock, policy: PolicySettings
    ) -> None:
        place = (key.exchange, key.timeframe, horizon)
        named: dict[str, Any] = dict(zip(("exchange", "timeframe", "horizon"), place, strict=True))
        self.horizon = horizon
        self.predictor = Predictor(**named, clock=clock)
        self.labeller = Labeller(*place, cost_bps=policy.cost_bps)
        self.joiner = ExampleJoiner(OHLCV, **named)
        self.scorekeeper = Scorekeeper(*place)
        self.gates = {target: Gate(*place, target) for target in TARGETS}
        self.policy = SignalPolicy(horizon=horizon, settings=policy)
        self.book = SignalBook(horizon=horizon, settings=policy)
        self.learners: tuple[Learner, ...] = (
            ClassPrior(horizon=horizon),
            Ewma(horizon=horizon),
            Har(horizon=horizon),
            EmpiricalQuantiles(horizon=horizon),
            RiverSoftmax(OHLCV.model_columns, horizon=horizon),
        )
        self.matured = 0
        for learner in self.learners:
            river = learner.name.startswith("river.")
            self.predictor.seat(learner, Role.CHALLENGER if river else Role.MEMBER)

    def learn(self, labels: LabelBatch) -> None:
        """Teach the learners what has become known, direction first known apart."""
        touched, complete = self.joiner.on_labels(labels)
        self.matured += len(complete)
        for learner in self.learners:
            examples: Examples = touched if learner.target is Target.DIRECTION else complete
            if len(examples):
                learner.learn(examples)

    def stateful(self) -> dict[str, Any]:
        """Everything with `snapshot` and `restore`, by name."""
        return {
            "predictor": self.predictor,
            "labeller": self.labeller,
            "book": self.book,
            **{f"gate.{target}": gate for target, gate in self.gates.items()},
            **{learner.name: learner for learner in self.learners},
        }


class Panel:
    """One (exchange, timeframe): a tick goes in, its hot events and then the rest come out."""

    def __init__(
        self,
        key: PanelKey,
        horizons: Sequence[int],
        *,
        clock: Clock,
        policy: PolicySettings,
    ) -> None:
        self.key = key
        self.engine = FeatureEngine(OHLCV, key.exchange, key.timeframe)
        self.rooms = {h: HorizonRooms(key, h, clock=clock, policy=policy) for h in horizons}
        self._clock = clock
        self._changes: list[SeatChange] = []
        self.hot = Chain(hot_stages(self), time.perf_counter)
        self.cold = Chain(cold_stages(self), time.perf_counter)

    def enlist(self, listings: Iterable[Listing]) -> None:
        for listing in listings:
            for rooms in self.rooms.values():
                rooms.book.enlist(listing)

    def schedule(self, change: SeatChange) -> None:
        self._changes.append(change)

    def seat_due(self, as_of: datetime) -> list[SeatChange]:
        """Seat the models whose time has come; called before the tick at `as_of`."""
        due = [change for change in self._changes if change.effective_from <= as_of]
        self._changes = [change for change in self._changes if change.effective_from > as_of]
        for change in due:
            predictor = self.rooms[change.horizon].predictor
            predictor.seat(change.model, change.role)
            if change.weights:
                predictor.seed_weights(change.model.target, change.weights)
        return due

    def snapshot(self) -> bytes:
        state: dict[str, Any] = {"engine": self.engine.snapshot().hex()}
        for horizon, rooms in self.rooms.items():
            for name, room in rooms.stateful().items():
                state[f"{horizon}/{name}"] = room.snapshot().hex()
            state[f"{horizon}/matured"] = rooms.matured
        return pack(state)

    def restore(self, data: bytes) -> None:
        state = unpack(data)
        self.engine.restore(bytes.fromhex(state["engine"]))
        for horizon, rooms in self.rooms.items():
            for name, room in rooms.stateful().items():
                room.restore(bytes.fromhex(state[f"{horizon}/{name}"]))
            rooms.matured = state[f"{horizon}/matured"]


def hot_stages(panel: Panel) -> tuple[Stage, ...]:
    """From candles to signals: what is committed and published before anything else."""
    rooms = tuple(panel.rooms.values())

    def signals(event: object) -> Iterable[SignalBatch]:
        for room in rooms:
            if isinstance(event, CandleBatch):
                yield from room.book.on_candles(event)
            elif isinstance(event, PredictionBatch):
                for opened in room.policy.on_predictions(event):
                    room.book.on_signals(opened)
                    yield opened

    return (
        Stage(
            name="features",
            reads=(CANDLES,),
            writes=(FEATURES,),
            step=lambda candles: (panel.engine.on_candles(candles),),
        ),
        Stage(
            name="predictions",
            reads=(FEATURES,),
            writes=(PREDICTIONS,),
            step=lambda features: (
                row for room in rooms for row in room.predictor.on_features(features)
            ),
        ),
        Stage(name="signals", reads=(CANDLES, PREDICTIONS), writes=(SIGNALS,), step=signals),
    )


def cold_stages(panel: Panel) -> tuple[Stage, ...]:
    """After publishing: the other forecasts, then labels, scores and all that learns."""
    rooms = tuple(panel.rooms.values())

    def others(event: FeatureBatch) -> Iterable[PredictionBatch]:
        for room in rooms:
            yield from room.predictor.on_features_published(event)
            room.joiner.on_features(event)

    def labels(event: CandleBatch) -> Iterable[LabelBatch]:
        for room in rooms:
            yield from room.labeller.on_candles(event)

    def scores(event: object) -> Iterable[OutcomeBatch]:
        for room in rooms:
            if isinstance(event, PredictionBatch):
                room.scorekeeper.on_predictions(event)
            elif isinstance(event, LabelBatch):
                yield from room.scorekeeper.on_labels(event, panel._clock.now())  # noqa: SLF001

    def learn(event: LabelBatch) -> Iterable[object]:
        for room in rooms:
            if event.horizon == room.horizon:
                room.predictor.on_labels(event)
                room.learn(event)
        return ()

    def skill(event: OutcomeBatch) -> Iterable[object]:
        for room in rooms:
            for gate in room.gates.values():
                verdict = gate.on_outcomes(event)
                if verdict is not None:
                    room.predictor.on_skill(verdict)
                    yield verdict

    return (
        Stage(name="members", reads=(FEATURES,), writes=(PREDICTIONS,), step=others),
        Stage(name="labels", reads=(CANDLES,), writes=(LABELS,), step=labels),
        Stage(name="scores", reads=(PREDICTIONS, LABELS), writes=(SCORES,), step=scores),
        Stage(name="skill", reads=(SCORES,), writes=(SKILL,), step=skill),
        Stage(name="models", reads=(LABELS,), writes=(), step=learn),
    )


def training_interval(timeframe: Timeframe, every_bars: int | None) -> timedelta:
    """Candle time between scheduled fits: as set, else 30 days."""
    return timeframe.duration * every_bars if every_bars else timedelta(days=30)
