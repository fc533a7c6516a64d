"""All rooms of one (exchange, timeframe), joined into the chain that a tick runs through."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from backend.horizon_rooms import HorizonRooms
from domain.classes import LabelKind
from domain.codec import pack, unpack
from domain.events import (
    CandleBatch,
    FeatureBatch,
    FeatureSet,
    Role,
    SentimentBatch,
)
from domain.market import EPOCH, Hole, Instrument, Listing, Timeframe
from domain.ports import Clock, Model
from domain.topics import CANDLES, FEATURES, LABELS, PREDICTIONS, SCORES, SENTIMENT, SIGNALS, SKILL
from services.classes.rooms import ClassRooms, ClassSeat
from services.features.engine import FeatureEngine
from services.features.extended import begin
from services.features.kinds import RELEASE, CandleSet
from services.models.catalogue import BUILT_IN
from services.models.examples import SLACK
from services.models.kinds import OnlineKind
from services.sentiment.feature_set import with_sentiment
from services.sentiment.features import SentimentFeatures
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
        sets: Sequence[CandleSet] = (RELEASE,),
    ) -> None:
        """Begin with nothing.

        Args:
            key: which panel.
            horizons: in candles.
            clock: the market's time.
            policy: what the operator set of signals.
            sentiment: what sources told.
            kinds: of class labels.
            online: kinds that learn with each label.
            decided_by: the signal policy.
            sets: what candles are made into: the base, which all learn from, then the candidate.
        """
        self.key = key
        self.sets = tuple(sets)
        self.decided_by = decided_by
        self.online = online
        self.sentiment = sentiment or SentimentFeatures(since=EPOCH)  # which nobody tells anything
        self.policy = policy
        self.engines = {one.id: begin(one, key.exchange, key.timeframe) for one in self.sets}
        self._told: FeatureBatch | None = None  # the base's newest rows
        self._ahead = False  # whether the hot chain has made the candidate's rows of its tick
        self.rooms = {
            h: HorizonRooms(
                (key.exchange, key.timeframe),
                h,
                clock=clock,
                policy=policy,
                online=online.values(),
                decided_by=decided_by,
                base=self.base.feature_set,
            )
            for h in horizons
        }
        self.classes = ClassRooms((key.exchange, key.timeframe), horizons, kinds, clock)
        self._changes: list[SeatChange] = []
        self.hot = Chain(hot_stages(self), time.perf_counter)
        self.cold = Chain(cold_stages(self), time.perf_counter)

    @property
    def base(self) -> CandleSet:
        """Whose rows are served with, and learnt from with each label."""
        return self.sets[0]

    @property
    def candidate(self) -> CandleSet | None:
        """The set beside it, if there is one."""
        return self.sets[1] if len(self.sets) > 1 else None

    @property
    def engine(self) -> FeatureEngine:
        """That of the base."""
        return self.engines[self.base.id]

    def fitted_on(self, of: str = "") -> FeatureSet:
        """What models are fitted on that read a candle set, as recipes name it; empty: the base."""
        named = {one.recipes: one.feature_set for one in self.sets}
        candles = named[of] if of else self.base.feature_set
        return with_sentiment(candles) if self.sentiment.collects else candles

    def makes(self, feature_set: str) -> bool:
        """Whether there are rows of what a model was fitted on."""
        made = (
            name for one in self.sets for name in (one.feature_set, with_sentiment(one.feature_set))
        )
        return any(one.id == feature_set for one in made)

    def expect_past(self, candles: int) -> None:
        """Models may come that read so many candles before a row: they are kept from now on."""
        for rooms in self.rooms.values():
            rooms.predictor.recent.expect(candles)
            if self.candidate is not None:
                rooms.predictor.beside.recent.expect(candles)

    @property
    def remembers(self) -> int:
        """Of how many closes rooms keep feature rows."""
        kept = (rooms.predictor.recent.candles for rooms in self.rooms.values())
        return max(2 * max(self.rooms) + SLACK, *kept)

    def features(self, candles: CandleBatch) -> Iterable[FeatureBatch | SentimentBatch]:
        """The rows of a tick with what sources told, which is told apart where any was asked.

        Those of the candidate come first where a member reads them.
        """
        self._told = features = self.sentiment.beside(self.engine.on_candles(candles))
        if self.candidate is not None and any(
            rooms.predictor.waits_for(self.candidate.id) for rooms in self.rooms.values()
        ):
            yield self._made(self.candidate, candles, features)
            self._ahead = True
        yield features
        if features.told is not None and features.told.status:
            yield features.told

    def candidate_features(self, candles: CandleBatch) -> Iterable[FeatureBatch]:
        """The candidate's rows of a tick, where nobody waited for them."""
        made, self._ahead = self._ahead, False
        if self.candidate is not None and self._told is not None and not made:
            yield self._made(self.candidate, candles, self._told)

    def _made(self, of: CandleSet, candles: CandleBatch, base: FeatureBatch) -> FeatureBatch:
        """The candidate's rows, which predictors have from now on."""
        made = replace(self.engines[of.id].on_candles(candles), told=base.told)
        for rooms in self.rooms.values():
            rooms.predictor.beside.take(made)
        return made

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
        state: dict[str, Any] = {
            engine_place(one): self.engines[one.id].snapshot().hex() for one in self.sets
        }
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

    def lacking(self, data: bytes) -> list[CandleSet]:
        """The sets that a snapshot has no engine of."""
        state = unpack(data)
        return [one for one in self.sets if engine_place(one) not in state]

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot; the engines of sets that it lacks begin."""
        state = unpack(data)
        self.classes.restore(state)
        for one in self.sets:
            self.engines[one.id] = begin(one, self.key.exchange, self.key.timeframe)
            if (engine := state.get(engine_place(one))) is not None:
                self.engines[one.id].restore(bytes.fromhex(engine))
        for horizon, rooms in self.rooms.items():
            for name, room in rooms.stateful().items():
                place = f"{horizon}/{name}"
                if place in state or name not in self.online:  # who was switched on since begins
                    room.restore(bytes.fromhex(state[place]))
            rooms.matured = state[f"{horizon}/matured"]
            # Another policy begins: nothing is staked until a block closes.
            if (policy := state.get(f"{horizon}/policy/{self.decided_by.name}")) is not None:
                rooms.policy.restore(bytes.fromhex(policy))


def engine_place(of: CandleSet) -> str:
    """Where a panel's snapshot has the engine of a set."""
    return f"engine/{of.recipes}" if of.recipes else "engine"


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
        of_base(
            panel,
            Stage(
                name="predictions",
                reads=(FEATURES,),
                writes=(PREDICTIONS,),
                step=each(room.forecast for room in rooms),
            ),
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
        *candidate_stages(panel),
        *(of_base(panel, stage) for stage in said),
        of_base(
            panel,
            Stage(
                name="members",
                reads=(FEATURES,),
                writes=(PREDICTIONS,),
                step=each(room.forecast_rest for room in rooms),
            ),
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


def candidate_stages(panel: Panel) -> tuple[Stage, ...]:
    """The rows of the set that is beside the base, where there is one."""
    stage = Stage(
        name="candidate", reads=(CANDLES,), writes=(FEATURES,), step=panel.candidate_features
    )
    return () if panel.candidate is None else (stage,)


def of_base(panel: Panel, stage: Stage) -> Stage:
    """One that answers each close once, where there are rows of two sets."""
    if panel.candidate is None:
        return stage
    base = panel.base.id
    return replace(
        stage, step=lambda batch: stage.step(batch) if batch.feature_set.id == base else ()
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
