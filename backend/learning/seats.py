"""Who sits where in one panel, as the registry has it: read at a start, changed with a decision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from backend.learning.evidence import Trial, tried_before
from backend.panel import Panel, SeatChange
from backend.store.registry import Decision, Seat
from backend.wiring import Store
from domain.errors import ArtifactError
from domain.events import ModelEvent, Role, Target
from domain.market import Horizon
from domain.ports import Clock, Model
from services.scores.promotion import Verdict

log = logging.getLogger(__name__)

RIVER: Final = "river.direction"  # on trial from the start; it has no artifact
ALIASES: Final = {"champion": Role.MEMBER, "challenger": Role.CHALLENGER}
Emit = Callable[[object], None]


@dataclass(frozen=True, slots=True)
class Sitting:
    """The version of a kind that has a role."""

    version: int
    role: Role


@dataclass(slots=True, kw_only=True)
class Seats:
    """One panel's.

    Args:
        emit: takes the model events; the caller commits them.
        refused: what was found to be unusable at the start, in words for users.
    """

    panel: Panel
    store: Store
    clock: Clock
    emit: Emit
    refused: list[str] = field(default_factory=list)
    _sittings: dict[tuple[int, str], Sitting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for horizon in self.panel.rooms:
            self._sittings[horizon, RIVER] = Sitting(
                int(self.river(horizon).version), Role.CHALLENGER
            )

    async def restore(self) -> dict[int, datetime]:
        """Take the seats as the registry has them; when each horizon was last trained."""
        trained: dict[int, datetime] = {}
        key = self.panel.key
        for row in await self.store.registry.versions(key.exchange, key.timeframe):
            horizon = row["horizon"]
            if horizon not in self.panel.rooms:
                continue
            trained[horizon] = max(row["created_at"], trained.get(horizon, row["created_at"]))
            for alias, role in ALIASES.items():
                if alias in row["aliases"]:
                    await self._reseat(row, role)
        for horizon in self.panel.rooms:
            await self._reseat_river(horizon)
        return trained

    def members(self, horizon: int, target: Target) -> set[str]:
        """The kinds that have a seat, baselines aside."""
        return self._of(horizon, target, Role.MEMBER)

    def on_trial(self, horizon: int, target: Target) -> list[str]:
        """The kinds that predict in the shadow."""
        return sorted(self._of(horizon, target, Role.CHALLENGER))

    def version(self, horizon: int, name: str) -> int:
        """Of a kind that has a role."""
        return self._sittings[horizon, name].version

    def seated_version(self, horizon: int, name: str) -> int | None:
        """Of a kind that has a seat."""
        sitting = self._sittings.get((horizon, name))
        return sitting.version if sitting and sitting.role is Role.MEMBER else None

    def tried(self, horizon: int, target: Target, name: str) -> Model:
        """The model that predicts in the shadow under this name."""
        seats = self.panel.rooms[horizon].predictor.seats().values()
        return next(
            seat.model
            for seat in seats
            if (seat.role, seat.model.target, seat.model.name) == (Role.CHALLENGER, target, name)
        )

    def river(self, horizon: int) -> Model:
        """The model that learns with each label."""
        learners = self.panel.rooms[horizon].learners
        return next(learner for learner in learners if learner.name == RIVER)

    def schedule(self, change: SeatChange) -> None:
        """A model takes a role when its time has come."""
        self.panel.schedule(change)
        sitting = Sitting(int(change.model.version), change.role)
        self._sittings[change.horizon, change.model.name] = sitting

    def place(self, horizon: int, target: Target, name: str) -> Seat:
        """A seat of this panel, as the registry knows it."""
        key = self.panel.key
        return Seat(
            exchange=key.exchange,
            timeframe=key.timeframe,
            horizon=horizon,
            target=target,
            name=name,
        )

    def trial(self, horizon: int, target: Target) -> Trial:
        """What comparisons for a target's seats are about."""
        key = self.panel.key
        return Trial(exchange=key.exchange, horizon=Horizon(key.timeframe, horizon), target=target)

    def tell(self, kind: str, seat: Seat, version: str, at: datetime, detail: str) -> None:
        """Something happened to a model."""
        self.emit(
            ModelEvent(
                exchange=seat.exchange,
                timeframe=seat.timeframe,
                horizon=seat.horizon,
                at=at,
                kind=kind,
                target=seat.target.value,
                model=seat.name,
                version=version,
                detail=detail,
            )
        )

    def _of(self, horizon: int, target: Target, role: Role) -> set[str]:
        return {
            name
            for (steps, name), sitting in self._sittings.items()
            if steps == horizon and sitting.role is role and name.endswith(f".{target}")
        }

    async def _reseat(self, row: Mapping[str, Any], role: Role) -> None:
        try:
            model = await asyncio.to_thread(
                self.store.artifacts.load,
                name=row["name"],
                version=str(row["version"]),
                sha256=row["artifact_sha256"],
            )
        except ArtifactError as error:
            await self._previous(row, role, error)
            return
        self._take(row["horizon"], model, role)

    def _take(self, horizon: int, model: Model, role: Role) -> None:
        self.panel.rooms[horizon].predictor.seat(model, role)
        self._sittings[horizon, model.name] = Sitting(int(model.version), role)

    async def _reseat_river(self, horizon: int) -> None:
        decisions = await self.store.registry.decisions(
            self.place(horizon, Target.DIRECTION, RIVER)
        )
        if decisions and decisions[-1]["verdict"] in {Verdict.COLD_START, Verdict.PROMOTE}:
            self._take(horizon, self.river(horizon), Role.MEMBER)

    async def _previous(self, row: Mapping[str, Any], role: Role, error: ArtifactError) -> None:
        """An artifact that is not what it was is refused; the version before it is used."""
        log.error("model refused", extra={"model": row["name"], "reason": str(error)})
        self.refused.append(_refusal(row, error))
        registry, member = self.store.registry, role is Role.MEMBER
        refused = Decision(
            seat=self.place(row["horizon"], Target(row["target"]), row["name"]),
            champion_version=row["version"] if member else None,
            challenger_version=None if member else row["version"],
            verdict=Verdict.ROLLBACK.value,
            trigger="artifact",
            decided_at=self.clock.now(),
            evidence={"words": str(error)},
        )
        if member:
            previous = await registry.withdraw(refused)
        else:
            previous = tried_before(await registry.decisions(refused.seat), row["version"])
            await registry.dismiss(refused, instead=previous)
        before = previous and await registry.show(refused.seat, previous)
        if before:
            await self._reseat(before, role)


def _refusal(row: Mapping[str, Any], error: ArtifactError) -> str:
    place = f"{row['exchange']} {row['timeframe']}, horizon {row['horizon']}"
    reason = str(error).replace(f"artifact {row['artifact_sha256']}", "artifact")
    return f"model {row['name']}@{row['version']} ({place}) refused: {reason}"
