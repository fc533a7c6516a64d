"""Self-training of one panel, as those who run it see it: what is due, and the doing of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from backend.learning.admission import Admission
from backend.learning.challenges import Challenges
from backend.learning.plan import Due, LearningPlan
from backend.learning.seats import Emit, Seats
from backend.learning.trainings import Report, Trainings
from backend.panel import Panel
from backend.wiring import Store
from domain.ports import Clock, Executor


@dataclass(slots=True, kw_only=True)
class Learning:
    """One panel's trainings and challenges.

    Args:
        emit: takes the model events; the caller commits them.
    """

    panel: Panel
    store: Store
    executor: Executor
    clock: Clock
    plan: LearningPlan
    emit: Emit
    _seats: Seats = field(init=False)
    _challenges: Challenges = field(init=False)
    _trainings: Trainings = field(init=False)

    def __post_init__(self) -> None:
        self._seats = Seats(panel=self.panel, store=self.store, clock=self.clock, emit=self.emit)
        self._challenges = Challenges(seats=self._seats)
        self._trainings = Trainings(
            seats=self._seats,
            admission=Admission(seats=self._seats, challenges=self._challenges),
            executor=self.executor,
            plan=self.plan,
        )

    async def restore(self) -> None:
        """Go on as the registry has it; for a panel that starts."""
        self._trainings.resume(await self._seats.restore())
        await self._challenges.restore()

    @property
    def refused(self) -> list[str]:
        """What the start found to be unusable, in words for users."""
        return self._seats.refused

    def request(self) -> None:
        """Train at the next tick."""
        self._trainings.request()

    def due(self, as_of: datetime) -> Due:
        """What the tick at `as_of` makes due; a training is told once."""
        return Due(trainings=self._trainings.due(as_of), looks=self._challenges.due(as_of))

    async def run(self, due: Due, report: Report | None = None) -> None:
        """Do what is due. The outcomes that were scored by then must have been committed."""
        for look in due.looks:
            await self._challenges.look(look)
        if due.trainings:
            await self._trainings.run(due.trainings, report or (lambda _done, _total: None))
