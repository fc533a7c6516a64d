"""The rooms of a panel that exist once per horizon."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

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
    SignalBatch,
    Skill,
    Target,
)
from domain.losses import BASELINE_NAMES
from domain.market import Timeframe
from domain.ports import Clock, Learner
from services.labels.labeller import Labeller
from services.models.baseline import ClassPrior, EmpiricalQuantiles, Ewma
from services.models.examples import ExampleJoiner
from services.models.har import Har
from services.models.kinds import OnlineKind
from services.predictions.predictor import TARGETS, Predictor
from services.predictions.said_before import SaidBefore
from services.scores.gate import Gate
from services.scores.scorekeeper import Scorekeeper
from services.sentiment.feature_set import with_sentiment
from services.signals.book import SignalBook
from services.signals.kinds import PolicyKind
from services.signals.policy import PolicySettings


class HorizonRooms:
    """The rooms that exist once per horizon."""

    def __init__(  # noqa: PLR0913 - what settings choose
        self,
        panel: tuple[str, Timeframe],
        horizon: int,
        *,
        clock: Clock,
        policy: PolicySettings,
        online: Iterable[OnlineKind],
        decided_by: PolicyKind,
        base: FeatureSet,
    ) -> None:
        place = (*panel, horizon)
        named: dict[str, Any] = dict(zip(("exchange", "timeframe", "horizon"), place, strict=True))
        self.horizon = horizon
        self._base = base
        self._clock = clock
        self.predictor = Predictor(**named, clock=clock)
        self.labeller = Labeller(*place, cost_bps=policy.cost_bps)
        self.joiner = ExampleJoiner(with_sentiment(base), **named)
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
        if features.feature_set.id != self._base.id:
            self.predictor.beside.recent.keep(features)
            return
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
