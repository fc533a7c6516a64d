"""Drift of one panel: when its record is looked at, what was found, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from backend.learning.examination import ERROR, ExaminationOrder, Finding, examine
from backend.learning.plan import SCHEDULED_AT, Examination, LearningPlan
from backend.learning.seats import Seats
from backend.learning.trainings import Trainings
from backend.learning.working import NotDoneError, given
from backend.store.database import patiently
from backend.store.drift import DriftEvent, DriftRecord
from backend.store.registry import Seat
from domain.events import Target
from domain.market import Horizon
from domain.ports import Executor
from services.scores.gate import pool_name

COOL_DOWN: Final = timedelta(days=1)  # after a training: what it changed has not been seen yet
RETRAIN, REPORT, COOLS = "retrain", "report", "cool_down"


@dataclass(slots=True, kw_only=True)
class Drifts:
    """Once a day, at 01:00 UTC of candle time, each horizon that was fitted is examined.

    An alarm is acted on when it begins, and again only after an examination without it.
    """

    seats: Seats
    trainings: Trainings
    executor: Executor
    plan: LearningPlan
    _examined: dict[int, datetime] = field(default_factory=dict)
    _standing: dict[int, set[tuple[str, str]]] = field(default_factory=dict)  # kind and target

    def due(self, as_of: datetime) -> tuple[Examination, ...]:
        """What the tick at `as_of` makes due; each is told once."""
        found = []
        for horizon in self.seats.panel.rooms:
            last = self._examined.setdefault(horizon, as_of)
            midnight = last.replace(hour=0, minute=0, second=0, microsecond=0)
            next_one = midnight + SCHEDULED_AT
            while next_one <= last:
                next_one += self.plan.examine_every
            if as_of >= next_one and self.seats.trained(horizon) is not None:
                self._examined[horizon] = as_of
                found.append(Examination(horizon=horizon, as_of=as_of, since=last))
        return tuple(found)

    async def examine(self, one: Examination) -> None:
        """Look, and act on what is found."""
        trained = self.seats.trained(one.horizon)
        if trained is None:
            return
        panel = self.seats.panel
        order = ExaminationOrder(
            database_url=self.seats.store.url,
            exchange=panel.key.exchange,
            horizon=Horizon(panel.key.timeframe, one.horizon),
            feature_set=panel.engine.feature_set,
            at=one.as_of,
            since=one.since,
            trained=trained,
        )
        try:
            findings = await given(self.executor, self.seats.wall, examine, order)
        except NotDoneError as error:
            place = self._place(one.horizon, Target.DIRECTION)
            self.seats.tell("drift", place, "", one.as_of, f"not examined: {error}")
            return
        before = self._standing.get(one.horizon, set())
        self._standing[one.horizon] = {(finding.kind, finding.target) for finding in findings}
        begun = [finding for finding in findings if (finding.kind, finding.target) not in before]
        await self._act(one, order.horizon, begun)

    async def _act(self, one: Examination, horizon: Horizon, findings: Sequence[Finding]) -> None:
        actions = [self._action(finding, one) for finding in findings]
        events = [
            DriftEvent(
                exchange=self.seats.panel.key.exchange,
                horizon=horizon,
                target=finding.target,
                kind=finding.kind,
                at=one.as_of,
                statistic=finding.statistic,
                threshold=finding.threshold,
                window_n=finding.window_n,
                action=action,
                evidence={**finding.evidence, "words": finding.words},
            )
            for finding, action in zip(findings, actions, strict=True)
        ]
        if events:
            enter = partial(DriftRecord(self.seats.store.writers).enter, events)
            await patiently(enter, self.seats.wall)
        for finding, action in zip(findings, actions, strict=True):
            target = Target(finding.target) if finding.target else Target.DIRECTION
            place = self._place(one.horizon, target)
            words = f"{finding.kind}: {finding.words}; {action.replace('_', ' ')}"
            self.seats.tell("drift", place, "", one.as_of, words)
            if action == RETRAIN:
                self.trainings.request(one.horizon, finding.kind)
            if finding.kind == ERROR:
                self.seats.panel.rooms[one.horizon].predictor.on_drift(target)

    def _action(self, finding: Finding, one: Examination) -> str:
        if finding.kind not in self.plan.triggers:
            return REPORT
        started = self.trainings.started(one.horizon)
        cools = started is not None and one.as_of - started < COOL_DOWN
        return COOLS if cools else RETRAIN

    def _place(self, horizon: int, target: Target) -> Seat:
        return self.seats.place(horizon, target, pool_name(target))
