"""What is decided of the fits of a training: stored as a whole, and only then let happen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from backend.learning.plan import Training
from backend.learning.seats import Seats
from backend.panel import SeatChange
from backend.store.registry import Decision as DecisionRow
from backend.store.registry import Registry
from domain.classes import Classifier, LabelKind, label_id
from domain.events import Role, Target
from domain.ports import Model
from services.classes.rooms import ClassSeat
from services.scores.promotion import Decision, Verdict


@dataclass(slots=True, kw_only=True)
class Deciding(ABC):
    """Of one training, about fits that compete for the same seats.

    Args:
        record: the registry, within the transaction that stores all of this.
        due: the training.
        seats: as they were before.
    """

    record: Registry
    due: Training
    seats: Seats
    _afterwards: list[Callable[[], None]] = field(default_factory=list)

    @property
    @abstractmethod
    def about(self) -> str:
        """What they forecast, as the registry has it."""

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
        place = self.seats.place(self.due.horizon, self.about, name)
        at = self.due.request.as_of
        self.afterwards(lambda: self.seats.tell(kind, place, version, at, detail))

    def afterwards(self, step: Callable[[], None]) -> None:
        """Do `step` once all is stored."""
        self._afterwards.append(step)

    def happen(self) -> None:
        """It is stored."""
        for step in self._afterwards:
            step()

    def _row(self, name: str, version: int, decision: Decision, trigger: str) -> DecisionRow:
        return DecisionRow(
            seat=self.seats.place(self.due.horizon, self.about, name),
            champion_version=self.seats.seated_version(self.due.horizon, name),
            challenger_version=version,
            verdict=str(decision.verdict if name in decision.models else Verdict.REJECT),
            trigger=trigger,
            decided_at=self.due.request.as_of,
            evidence={**decision.evidence, "words": decision.words},
        )


@dataclass(slots=True, kw_only=True)
class Conclusion(Deciding):
    """Of fits of a target."""

    target: Target

    @property
    def about(self) -> str:
        return self.target

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


@dataclass(slots=True, kw_only=True)
class ClassConclusion(Deciding):
    """Of fits of a kind of class label."""

    kind: LabelKind

    @property
    def about(self) -> str:
        return self.kind.name

    async def demote(self, name: str, decision: Decision, *, trigger: str) -> None:
        """The version that has the seat is on trial again."""
        evidence = {**decision.evidence, "words": decision.words}
        row = DecisionRow(
            seat=self.seats.place(self.due.horizon, self.about, name),
            champion_version=self.seats.seated_version(self.due.horizon, name),
            challenger_version=None,
            verdict=str(decision.verdict),
            trigger=trigger,
            decided_at=self.due.request.as_of,
            evidence=evidence,
        )
        await self.record.demote(row)

    def schedule(self, model: Classifier, role: Role) -> None:
        """A model takes the seat, or is on trial, when its time has come, once that is stored."""
        change = ClassSeat(
            model=model,
            serves=role is Role.MEMBER,
            label=label_id(self.kind),
            horizon=self.due.horizon,
            effective_from=self.due.request.effective_from,
        )
        self.afterwards(lambda: self.seats.schedule_class(change))
