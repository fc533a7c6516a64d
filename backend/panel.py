"""All rooms of one (exchange, timeframe), joined into the chain that a tick runs through."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from backend.feature_sets import WITH_SENTIMENT
from domain.classes import LabelKind
from domain.codec import pack, unpack
from domain.events import (
    CandleBatch,
    Examples,
    FeatureBatch,
    FeatureSet,
    LabelBatch,
    Origin,
    OutcomeBatch,
    PredictionBatch,
    Role,
    SentimentBatch,
    SignalBatch,
    Skill,
    Target,
)
from domain.losses import BASELINE_NAMES
from domain.market import EPOCH, Hole, Instrument, Listing, Timeframe
from domain.ports import Clock, Learner, Model
from domain.topics import CANDLES, FEATURES, LABELS, PREDICTIONS, SCORES, SENTIMENT, SIGNALS, SKILL
from services.classes.rooms import ClassRooms, ClassSeat
from services.features.engine import FeatureEngine
from services.features.feature_set import OHLCV
from services.labels.labeller import Labeller
from services.models.baseline import ClassPrior, EmpiricalQuantiles, Ewma
from services.models.catalogue import BUILT_IN
from services.models.examples import SLACK, ExampleJoiner
from services.models.har import Har
from services.models.kinds import OnlineKind
from services.predictions.predictor import TARGETS, Predictor
from services.predictions.said_before import SaidBefore
from services.scores.gate import Gate
from services.scores.scorekeeper import Scorekeeper
from services.sentiment.features import SentimentFeatures
from services.signals.book import SignalBook
from services.signals.kinds import THRESHOLDS, PolicyKind
from services.signals.policy import PolicySettings
from services.stage import Chain, Stage, Step

ROOM = "panel"  # of its snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelKey:
    """Which panel: one owner each when the rooms run apart."""

    exchange: str
    timeframe: Timeframe


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatChange:
    """A model that takes a role, or leaves, at the first close at or after `effective_from`."""

    model: Model
    role: Role | None  # None: it leaves
    horizon: int
    effective_from: datetime
    weights: Mapping[str, float] = field(default_factory=dict)  # earned on the locked holdout


class HorizonRooms:
    """The rooms that exist once per horizon."""

    def __init__(
        self,
        key: PanelKey,
        horizon: int,
        *,
        clock: Clock,
        policy: PolicySettings,
        online: Iterable[OnlineKind],
        decided_by: PolicyKind,
    ) -> None:
        place = (key.exchange, key.timeframe, horizon)
        named: dict[str, Any] = dict(zip(("exchange", "timeframe", "horizon"), place, strict=True))
        self.horizon = horizon
        self._clock = clock
        self.predictor = Predictor(**named, clock=clock)
        self.labeller = Labeller(*place, cost_bps=policy.cost_bps)
        self.joiner = ExampleJoiner(WITH_SENTIMENT, **named)
        self.scorekeeper = Scorekeeper(*place)
        self.gates = {target: Gate(*place, target) for target in TARGETS}
        self.policy = decided_by.begin(horizon=horizon, settings=policy)
        self.book = SignalBook(horizon=horizon, settings=policy)
        baselines: tuple[Learner, ...] = (
            ClassPrior(horizon=horizon),
            Ewma(horizon=horizon),
            Har(horizon=horizon),
            EmpiricalQuantiles(horizon=horizon),
        )
        on_trial = tuple(kind.begin(kind.columns, horizon) for kind in online)
        self.learners = (*baselines, *on_trial)
        self.matured = 0
        self._said = SaidBefore()
        for learner in baselines:
            self.predictor.seat(learner, Role.MEMBER)
        for learner in on_trial:
            self.predictor.seat(learner, Role.CHALLENGER)

    def label(self, candles: CandleBatch) -> Iterable[LabelBatch]:
        """What this tick's candles make known."""
        return self.labeller.on_candles(candles)

    def signal(self, event: CandleBatch | PredictionBatch) -> Iterable[SignalBatch]:
        """Candles fill and close open signals; served rows open new ones."""
        if isinstance(event, CandleBatch):
            yield from self.book.on_candles(event)
            return
        for decided in self.policy.on_predictions(event):
            opened = self._said.unsaid(decided)
            if opened.signals:
                self.book.on_signals(opened)
                yield opened

    def revise(self, features: FeatureBatch) -> None:
        """Rows of the past were made anew: they are learnt from, and in sequences from now on."""
        self.joiner.on_features(features)
        self.predictor.recent.keep(features)

    def recall(self, said: Sequence[PredictionBatch]) -> None:
        """Before a tick is played: what stands of it stays as it was said, and is scored.

        What followed from it stands in the record too; the book has it from there.
        """
        ours = [one for one in said if one.horizon == self.horizon]
        self.scorekeeper.restore(ours)
        self._said = SaidBefore(ours)

    def forecast(self, features: FeatureBatch) -> Iterable[PredictionBatch]:
        """The votes and the served rows."""
        return self._told(self.predictor.on_features(features))

    def forecast_rest(self, features: FeatureBatch) -> Iterable[PredictionBatch]:
        """The rows that nobody waited for; the features are kept for their labels."""
        yield from self._told(self.predictor.on_features_published(features))
        self.joiner.on_features(features)

    def _told(self, made: Iterable[PredictionBatch]) -> Iterable[PredictionBatch]:
        """Over history the served rows, and the baselines that they are measured against."""
        for one in self._said.dated(made):
            if (
                one.origin is not Origin.BACKTEST
                or one.role is Role.CHAMPION
                or one.model in BASELINE_NAMES
            ):
                yield one

    def score(self, event: PredictionBatch | LabelBatch) -> Iterable[OutcomeBatch]:
        """Remember what was said; judge it when its label is known."""
        if isinstance(event, LabelBatch):
            return self.scorekeeper.on_labels(event, self._clock.now())
        self.scorekeeper.on_predictions(event)
        return ()

    def judge(self, outcomes: OutcomeBatch) -> Iterable[Skill]:
        """What a closed block says of each target's pool; obeyed from the next tick on."""
        for gate in self.gates.values():
            if outcomes.model not in gate.columns:
                continue
            verdict = gate.on_outcomes(outcomes)
            if verdict is not None:
                self.predictor.on_skill(verdict)
                self.policy.on_skill(verdict)
                yield verdict

    def learn(self, labels: LabelBatch) -> Iterable[object]:
        """Teach what has become known, direction first known apart."""
        if labels.horizon != self.horizon:
            return ()
        self.predictor.on_labels(labels)
        self.policy.on_labels(labels)
        touched, complete = self.joiner.on_labels(labels)
        self.matured += len(complete)
        for learner in self.learners:
            examples: Examples = touched if learner.target is Target.DIRECTION else complete
            if len(examples):
                learner.learn(examples)
        return ()

    def stateful(self) -> dict[str, Any]:
        """Everything with `snapshot` and `restore`, by name."""
        return {
            "predictor": self.predictor,
            "labeller": self.labeller,
            **{f"gate.{target}": gate for target, gate in self.gates.items()},
            **{learner.name: learner for learner in self.learners},
        }


class Panel:
    """One (exchange, timeframe): a tick goes in, its hot events and then the rest come out."""

    def __init__(  # noqa: PLR0913 - what settings choose
        self,
        key: PanelKey,
        horizons: Sequence[int],
        *,
        clock: Clock,
        policy: PolicySettings,
        sentiment: SentimentFeatures | None = None,
        kinds: Sequence[LabelKind] = (),
        online: Mapping[str, OnlineKind] = BUILT_IN.learners,
        decided_by: PolicyKind = THRESHOLDS,
    ) -> None:
        self.key = key
        self.decided_by = decided_by
        self.online = online
        self.sentiment = sentiment or SentimentFeatures(since=EPOCH)  # which nobody tells anything
        self.policy = policy
        self.engine = FeatureEngine(OHLCV, key.exchange, key.timeframe)
        self.rooms = {
            h: HorizonRooms(
                key,
                h,
                clock=clock,
                policy=policy,
                online=online.values(),
                decided_by=decided_by,
            )
            for h in horizons
        }
        self.classes = ClassRooms((key.exchange, key.timeframe), horizons, kinds, clock)
        self._changes: list[SeatChange] = []
        self.hot = Chain(hot_stages(self), time.perf_counter)
        self.cold = Chain(cold_stages(self), time.perf_counter)

    @property
    def feature_set(self) -> FeatureSet:
        """What models are fitted on."""
        return WITH_SENTIMENT if self.sentiment.collects else OHLCV

    def expect_past(self, candles: int) -> None:
        """Models may come that read so many candles before a row: they are kept from now on."""
        for rooms in self.rooms.values():
            rooms.predictor.recent.expect(candles)

    @property
    def remembers(self) -> int:
        """Of how many closes rooms keep feature rows."""
        kept = (rooms.predictor.recent.candles for rooms in self.rooms.values())
        return max(2 * max(self.rooms) + SLACK, *kept)

    def features(self, candles: CandleBatch) -> Iterable[FeatureBatch | SentimentBatch]:
        """The rows of a tick with what sources told, which is told apart where any was asked."""
        features = self.sentiment.beside(self.engine.on_candles(candles))
        yield features
        if features.told is not None and features.told.status:
            yield features.told

    def prepare(self) -> Iterable[object]:
        """Beside the ticks: what sources told of the next close."""
        self.sentiment.prepare()
        return ()

    def enlist(self, listings: Iterable[Listing]) -> None:
        for listing in listings:
            for rooms in self.rooms.values():
                rooms.book.enlist(listing)

    def on_gaps(self, gaps: Mapping[Instrument, Sequence[Hole]]) -> None:
        """What is missing and may still come."""
        for rooms in self.rooms.values():
            rooms.predictor.on_gaps(gaps)

    def schedule(self, change: SeatChange) -> None:
        self._changes.append(change)

    def changes(self, horizon: int) -> bool:
        """Whether models wait for their seats."""
        return any(change.horizon == horizon for change in self._changes)

    def seat_due(self, as_of: datetime) -> list[SeatChange | ClassSeat]:
        """Seat the models whose time has come; called before the tick at `as_of`."""
        due = [change for change in self._changes if change.effective_from <= as_of]
        self._changes = [change for change in self._changes if change.effective_from > as_of]
        for change in due:
            predictor = self.rooms[change.horizon].predictor
            if change.role is None:
                predictor.vacate(change.model.target, change.model.name)
                continue
            predictor.seat(change.model, change.role)
            if change.weights:
                predictor.seed_weights(change.model.target, change.weights)
        return [*due, *self.classes.seat_due(as_of)]

    def snapshot(self) -> bytes:
        state: dict[str, Any] = {"engine": self.engine.snapshot().hex()}
        for horizon, rooms in self.rooms.items():
            for name, room in rooms.stateful().items():
                state[f"{horizon}/{name}"] = room.snapshot().hex()
            state[f"{horizon}/matured"] = rooms.matured
            state[f"{horizon}/policy/{self.decided_by.name}"] = rooms.policy.snapshot().hex()
        state |= self.classes.snapshot()
        return pack(state)

    def fits(self, data: bytes) -> bool:
        """Whether a snapshot has every horizon that there is now."""
        state = unpack(data)
        return all(f"{horizon}/matured" in state for horizon in self.rooms)

    def restore(self, data: bytes) -> None:
        state = unpack(data)
        self.classes.restore(state)
        self.engine.restore(bytes.fromhex(state["engine"]))
        for horizon, rooms in self.rooms.items():
            for name, room in rooms.stateful().items():
                place = f"{horizon}/{name}"
                if place in state or name not in self.online:  # who was switched on since begins
                    room.restore(bytes.fromhex(state[place]))
            rooms.matured = state[f"{horizon}/matured"]
            # Another policy begins: nothing is staked until a block closes.
            if (policy := state.get(f"{horizon}/policy/{self.decided_by.name}")) is not None:
                rooms.policy.restore(bytes.fromhex(policy))


def hot_stages(panel: Panel) -> tuple[Stage, ...]:
    """From candles to signals: what is committed and published before anything else."""
    rooms = tuple(panel.rooms.values())
    return (
        Stage(
            name="features",
            reads=(CANDLES,),
            writes=(FEATURES, SENTIMENT),
            step=panel.features,
        ),
        Stage(
            name="predictions",
            reads=(FEATURES,),
            writes=(PREDICTIONS,),
            step=each(room.forecast for room in rooms),
        ),
        Stage(
            name="signals",
            reads=(CANDLES, PREDICTIONS),
            writes=(SIGNALS,),
            step=each(room.signal for room in rooms),
        ),
    )


def cold_stages(panel: Panel) -> tuple[Stage, ...]:
    """After publishing: the other forecasts, then labels, scores and all that learns."""
    rooms = tuple(panel.rooms.values())
    said, known = panel.classes.stages()
    return (
        *said,
        Stage(
            name="members",
            reads=(FEATURES,),
            writes=(PREDICTIONS,),
            step=each(room.forecast_rest for room in rooms),
        ),
        Stage(
            name="labels",
            reads=(CANDLES,),
            writes=(LABELS,),
            step=each(room.label for room in rooms),
        ),
        *known,
        Stage(
            name="scores",
            reads=(PREDICTIONS, LABELS),
            writes=(SCORES,),
            step=each(room.score for room in rooms),
        ),
        Stage(
            name="skill",
            reads=(SCORES,),
            writes=(SKILL,),
            step=each(room.judge for room in rooms),
        ),
        Stage(name="models", reads=(LABELS,), writes=(), step=each(room.learn for room in rooms)),
        Stage(name="sentiment", reads=(CANDLES,), writes=(), step=lambda _: panel.prepare()),
    )


def each(steps: Iterable[Step]) -> Step:
    """One step for the same step of every horizon, in their order."""
    known = tuple(steps)
    return lambda event: [made for step in known for made in step(event)]


def training_interval(
    timeframe: Timeframe, every_bars: int | None, *, live: bool = False
) -> timedelta:
    """Candle time between scheduled fits: as set, else a day where it is live, else 30."""
    return timeframe.duration * every_bars if every_bars else timedelta(days=1 if live else 30)
