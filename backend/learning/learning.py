"""Self-training of one panel, as those who run it see it: what is due, and the doing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeVar

from backend.learning.admission import Admission
from backend.learning.challenges import Challenges
from backend.learning.drift import Drifts
from backend.learning.plan import Due, LearningPlan, Withdrawal
from backend.learning.rollbacks import Rollbacks
from backend.learning.seats import Emit, Seats
from backend.learning.trainings import Report, Trainings
from backend.panel import Panel
from backend.store.database import patiently
from backend.wiring import Store
from domain.ports import Clock, Executor

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Learning:
    """One panel's trainings and challenges; while the database is away they wait.

    Args:
        wall: of these waits.
        emit: takes the model events; the caller commits them.
    """

    panel: Panel
    store: Store
    executor: Executor
    clock: Clock
    wall: Clock
    plan: LearningPlan
    emit: Emit
    _seats: Seats = field(init=False)
    _challenges: Challenges = field(init=False)
    _trainings: Trainings = field(init=False)
    _rollbacks: Rollbacks = field(init=False)
    _drifts: Drifts = field(init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one decision after another
    _busy: bool = False  # what is due meanwhile is due afterwards

    def __post_init__(self) -> None:
        self.panel.expect_past(max((one.past for one in self.plan.recipes), default=0))
        self._seats = Seats(
            panel=self.panel, store=self.store, clock=self.clock, wall=self.wall, emit=self.emit
        )
        self._challenges = Challenges(seats=self._seats)
        self._rollbacks = Rollbacks(seats=self._seats)
        self._trainings = Trainings(
            seats=self._seats,
            admission=Admission(seats=self._seats, challenges=self._challenges, plan=self.plan),
            executor=self.executor,
            plan=self.plan,
        )

        self._drifts = Drifts(
            seats=self._seats, trainings=self._trainings, executor=self.executor, plan=self.plan
        )

    async def restore(self) -> None:
        """Go on as the registry has it; for a panel that starts."""
        await self._trainings.resume(await self._seats.restore())
        await self._challenges.restore()

    @property
    def refused(self) -> list[str]:
        """What the start found to be unusable, in words for users."""
        return self._seats.refused

    def request(self, horizon: int) -> None:
        """Train at the next tick."""
        self._trainings.request(horizon, "request")

    def requested(self, horizon: int) -> bool:
        """Whether a training is asked for that no tick has begun yet."""
        return self._trainings.requested(horizon)

    def started(self, horizon: int) -> datetime | None:
        """The close at which the last training began."""
        return self._trainings.started(horizon)

    def matured(self, horizon: int) -> int:
        """How many rows have labels, and can be fitted on."""
        return self.panel.rooms[horizon].matured

    @property
    def under_way(self) -> bool:
        """Whether something is done, or a training that was cut short is to be gone on with."""
        return self._busy or self._trainings.cut_short

    def due(self, as_of: datetime) -> Due:
        """What the tick at `as_of` makes due; each thing is told once.

        While a training runs, that is who broke, and nobody else.
        """
        withdrawals = tuple(
            Withdrawal(horizon=horizon, broken=broken, as_of=as_of)
            for horizon, rooms in self.panel.rooms.items()
            for broken in rooms.predictor.broken()
        )
        if self._busy:
            return Due(withdrawals=withdrawals)
        due = Due(
            withdrawals=withdrawals,
            trainings=self._trainings.due(as_of),
            looks=self._challenges.due(as_of),
            reviews=self._rollbacks.due(as_of) if self.plan.by_evidence else (),
            examinations=self._drifts.due(as_of),
        )
        self._busy = due.takes_time
        return due

    async def run(self, due: Due, report: Report | None = None) -> None:
        """Do what is due. The outcomes that were scored by then must have been committed."""
        try:
            for withdrawal in due.withdrawals:
                await self._decide(partial(self._rollbacks.withdraw, withdrawal))
            for review in due.reviews:
                await self._decide(partial(self._rollbacks.review, review))
            for look in due.looks:
                await self._decide(partial(self._challenges.look, look))
            for examination in due.examinations:
                await self._drifts.examine(examination)
            if due.trainings:
                report = report or (lambda _done, _total: None)
                await self._trainings.run(due.trainings, report, self._turn)
        finally:
            if due.takes_time:
                self._busy = False

    def placed(self, horizon: int) -> dict[str, int]:
        """The fitted models that have a place, members or on trial, with their versions."""
        return self._seats.placed(horizon)

    async def roll_back(self, horizon: int, name: str) -> int | None:
        """By hand, as `Rollbacks.by_hand`."""
        now = self.clock.now()
        return await self._decide(partial(self._rollbacks.by_hand, horizon, name, now))

    async def _decide(self, step: Callable[[], Awaitable[T]]) -> T:
        """A step that reads the record, and stores what it decides last of all."""
        async with self._turn:
            return await patiently(step, self.wall)
