"""What is decided of one target's fits: stored as a whole, and only then let happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from backend.learning.plan import Training
from backend.learning.seats import Seats
from backend.panel import SeatChange
from backend.store.registry import Decision as DecisionRow
from backend.store.registry import Registry
from domain.events import Role, Target
from domain.ports import Model
from services.scores.promotion import Decision, Verdict


@dataclass(slots=True, kw_only=True)
class Conclusion:
    """Of one training and target.

    Args:
        record: the registry, within the transaction that stores all of this.
        due: the training.
        target: of the fits.
        seats: as they were before.
    """

    record: Registry
    due: Training
    target: Target
    seats: Seats
    _afterwards: list[Callable[[], None]] = field(default_factory=list)

    async def enter(
        self, name: str, version: int, role: Role | None, decision: Decision, *, trigger: str
    ) -> None:
        """What is decided of a fitted version, and the role that follows from it."""
        row = self._row(name, version, decision, trigger)
        match role:
            case Role.MEMBER:
                await self.record.promote(row, effective_from=self.due.request.effective_from)
            case Role.CHALLENGER:
                await self.record.challenge(row)
            case _:
                await self.record.keep(row)

    async def enter_learner(self, learner: Model, decision: Decision, *, trigger: str) -> None:
        """Its decision is all that keeps its seat: it has no version in the registry."""
        row = self._row(learner.name, int(learner.version), decision, trigger)
        await self.record.conclude(
            [row], promoted=None, effective_from=self.due.request.effective_from
        )

    def tell(self, kind: str, name: str, version: str, detail: str) -> None:
        """Something happened to a model, once it is stored."""
        place = self.seats.place(self.due.horizon, self.target, name)
        at = self.due.request.as_of
        self.afterwards(lambda: self.seats.tell(kind, place, version, at, detail))

    def schedule(
        self, model: Model, role: Role, weights: Mapping[str, float] | None = None
    ) -> None:
        """A model takes a role when its time has come, once that is stored."""
        change = SeatChange(
            model=model,
            role=role,
            horizon=self.due.horizon,
            effective_from=self.due.request.effective_from,
            weights=weights or {},
        )
        self.afterwards(lambda: self.seats.schedule(change))

    def afterwards(self, step: Callable[[], None]) -> None:
        """Do `step` once all is stored."""
        self._afterwards.append(step)

    def happen(self) -> None:
        """It is stored."""
        for step in self._afterwards:
            step()

    def _row(self, name: str, version: int, decision: Decision, trigger: str) -> DecisionRow:
        return DecisionRow(
            seat=self.seats.place(self.due.horizon, self.target, name),
            champion_version=self.seats.seated_version(self.due.horizon, name),
            challenger_version=version,
            verdict=str(decision.verdict if name in decision.models else Verdict.REJECT),
            trigger=trigger,
            decided_at=self.due.request.as_of,
            evidence={**decision.evidence, "words": decision.words},
        )
