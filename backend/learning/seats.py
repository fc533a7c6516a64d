"""Who sits where in one panel, as the registry has it: read at a start, changed with a decision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from backend.feature_sets import of_release
from backend.learning.attempts import tried_before
from backend.learning.evidence import Trial
from backend.panel import Panel, SeatChange
from backend.store.database import patiently
from backend.store.registry import Decision, Seat
from backend.store.tables import LABEL_SET
from backend.wiring import Store
from domain.classes import Classifier, LabelKind, label_id
from domain.errors import ArtifactError
from domain.events import ModelEvent, Role, Target
from domain.market import Horizon
from domain.ports import Clock, Model
from services.classes.rooms import ClassSeat
from services.features.kinds import RELEASE
from services.models.classified import open_classes
from services.scores.promotion import Verdict

log = logging.getLogger(__name__)

ARTIFACT: Final = "artifact"  # of decisions: it is not what it was
FEATURES: Final = "features"  # the set that it reads is not made any more
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
        wall: of waits for the database.
        emit: takes the model events; the caller commits them.
        refused: what was found to be unusable at the start, in words for users.
    """

    panel: Panel
    store: Store
    clock: Clock
    wall: Clock
    emit: Emit
    refused: list[str] = field(default_factory=list)
    _sittings: dict[tuple[int, str], Sitting] = field(default_factory=dict)
    _trained: dict[int, tuple[datetime, datetime]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for horizon in self.panel.rooms:
            for name in self.learners:  # on trial from the start
                version = int(self.learner(horizon, name).version)
                self._sittings[horizon, name] = Sitting(version, Role.CHALLENGER)

    @property
    def learners(self) -> Collection[str]:
        """Who learns with each label, by name: they have no artifacts, and no versions."""
        return self.panel.online

    async def restore(self) -> dict[int, datetime]:
        """Take the seats as the registry has them; when each horizon was last trained."""
        trained: dict[int, datetime] = {}
        key, labels = self.panel.key, {label_id(kind) for kind in self.panel.classes.kinds}
        for row in await self.store.registry.versions(key.exchange, key.timeframe):
            horizon, label = row["horizon"], _label_of(row)
            if horizon not in self.panel.rooms or (label and label not in labels):
                continue
            if not label and row["created_at"] >= trained.get(horizon, row["created_at"]):
                trained[horizon] = row["created_at"]
                self.trained_on(horizon, row["trained_from"], row["trained_until"])
            for alias, role in ALIASES.items():
                if alias in row["aliases"]:
                    await self._reseat(row, role)
        for horizon in self.panel.rooms:
            for name in self.learners:
                await self._reseat_learner(horizon, name)
        return trained

    def trained(self, horizon: int) -> tuple[datetime, datetime] | None:
        """First and last close of the rows that the newest fit saw."""
        return self._trained.get(horizon)

    def trained_on(self, horizon: int, first: datetime, last: datetime) -> None:
        """A fit saw the rows of these closes."""
        self._trained[horizon] = (first, last)

    def members(self, horizon: int, target: str) -> set[str]:
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

    def placed(self, horizon: int) -> dict[str, int]:
        """The fitted kinds that have a role at a horizon, with their versions."""
        return {
            name: sitting.version
            for (steps, name), sitting in self._sittings.items()
            if steps == horizon and name not in self.learners
        }

    def sitting(self, horizon: int, name: str) -> Sitting | None:
        """Which version of a kind has which role; None where it has none."""
        return self._sittings.get((horizon, name))

    def model(self, horizon: int, name: str) -> Model | None:
        """The model that predicts under this name, in the shadow or not."""
        seats = self.panel.rooms[horizon].predictor.seats().values()
        return next((seat.model for seat in seats if seat.model.name == name), None)

    def class_model(self, horizon: int, kind: LabelKind, name: str) -> Classifier | None:
        """The model of a kind of class label that predicts under this name."""
        return self.panel.classes.rooms[horizon].models(label_id(kind)).get(name)

    def learner(self, horizon: int, name: str) -> Model:
        """One of `learners`."""
        learners = self.panel.rooms[horizon].learners
        return next(learner for learner in learners if learner.name == name)

    def enter(self, horizon: int, name: str, role: Role) -> None:
        """The registry gives the version of a kind another role."""
        self._sittings[horizon, name] = Sitting(self.version(horizon, name), role)

    def schedule(self, change: SeatChange) -> None:
        """A model takes a role when its time has come."""
        self.panel.schedule(change)
        if change.role is not None:
            sitting = Sitting(int(change.model.version), change.role)
            self._sittings[change.horizon, change.model.name] = sitting

    def schedule_class(self, change: ClassSeat) -> None:
        """The same of a model of class labels."""
        self.panel.classes.schedule(change)
        role = Role.MEMBER if change.serves else Role.CHALLENGER
        sitting = Sitting(int(change.model.version), role)
        self._sittings[change.horizon, change.model.name] = sitting

    def leave(self, horizon: int, name: str, at: datetime) -> None:
        """A kind loses its place, as soon as `at` allows where it has it still."""
        self._sittings.pop((horizon, name), None)
        model = self.model(horizon, name)
        if model is not None:
            self.panel.schedule(
                SeatChange(model=model, role=None, horizon=horizon, effective_from=at)
            )

    def place(self, horizon: int, target: str, name: str) -> Seat:
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

    async def keep(self, artifacts: Mapping[str, bytes]) -> dict[str, str]:
        """Store artifacts by name; their SHA-256."""
        save = self.store.artifacts.save
        return {name: await asyncio.to_thread(save, one) for name, one in artifacts.items()}

    def tell(self, kind: str, seat: Seat, version: str, at: datetime, detail: str) -> None:
        """Something happened to a model."""
        self.emit(
            ModelEvent(
                exchange=seat.exchange,
                timeframe=seat.timeframe,
                horizon=seat.horizon,
                at=at,
                kind=kind,
                target=str(seat.target),
                model=seat.name,
                version=version,
                detail=detail,
            )
        )

    def _of(self, horizon: int, target: str, role: Role) -> set[str]:
        return {
            name
            for (steps, name), sitting in self._sittings.items()
            if steps == horizon and sitting.role is role and name.endswith(f".{target}")
        }

    async def withdraw(
        self, seat: Seat, gone: Sitting, *, trigger: str, words: str
    ) -> Model | None:
        """Take a version from its place for good, each step back in one transaction.

        Args:
            seat: its place.
            gone: the version, and the role that it had.
            trigger: of the decision.
            words: why, for the record.

        Returns:
            The model before it that can be used; None where there is none.
        """
        before: Model | None = await self._before(seat, gone, trigger=trigger, words=words)
        return before

    async def _before(self, seat: Seat, gone: Sitting, *, trigger: str, words: str) -> Any:  # noqa: ANN401 - a model, or one of class labels
        while True:
            version = await self._step_back(seat, gone, trigger, words)
            if version is None:
                return None
            row = await patiently(partial(self.store.registry.show, seat, version), self.wall)
            if row is None:
                return None
            try:
                return await self._load(row)
            except ArtifactError as error:
                self._refuse(row, error)
                gone = Sitting(row["version"], gone.role)
                trigger, words = _trigger(error), str(error)

    async def _step_back(self, seat: Seat, gone: Sitting, trigger: str, words: str) -> int | None:
        registry, member = self.store.registry, gone.role is Role.MEMBER
        decision = Decision(
            seat=seat,
            champion_version=gone.version if member else None,
            challenger_version=None if member else gone.version,
            verdict=Verdict.ROLLBACK.value,
            trigger=trigger,
            decided_at=self.clock.now(),
            evidence={"words": words},
        )
        if member:
            return await registry.together(lambda record: record.withdraw(decision), self.wall)
        decisions = await patiently(partial(registry.decisions, seat), self.wall)
        before = None if trigger == FEATURES else tried_before(decisions, gone.version)
        await registry.together(lambda record: record.dismiss(decision, instead=before), self.wall)
        return before

    async def _reseat(self, row: Mapping[str, Any], role: Role) -> None:
        """As the registry has it; an artifact that is not what it was is refused."""
        try:
            model = await self._load(row)
        except ArtifactError as error:
            self._refuse(row, error)
            seat = self.place(row["horizon"], row["target"], row["name"])
            gone = Sitting(row["version"], role)
            model = await self._before(seat, gone, trigger=_trigger(error), words=str(error))
        if model is not None:
            self._take(row["horizon"], model, role, _label_of(row))

    async def _load(self, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
        """The model of a version, or of class labels.

        Raises:
            ArtifactError: it cannot be used.
        """
        if not self.panel.makes(row["feature_set"]):
            raise _UnreadError(row["feature_set"])
        if words := self.store.artifacts.catalogue.altered(row["environment"]):
            raise ArtifactError(words)
        if _label_of(row):
            read = self.store.artifacts.read
            artifact = await asyncio.to_thread(read, row["artifact_sha256"])
            return await asyncio.to_thread(open_classes, artifact, str(row["version"]))
        return await asyncio.to_thread(
            self.store.artifacts.load,
            name=row["name"],
            version=str(row["version"]),
            sha256=row["artifact_sha256"],
        )

    def _take(self, horizon: int, model: Any, role: Role, label: str = "") -> None:  # noqa: ANN401
        if label:
            self.panel.classes.rooms[horizon].seat(label, model, serves=role is Role.MEMBER)
        else:
            self.panel.rooms[horizon].predictor.seat(model, role)
        self._sittings[horizon, model.name] = Sitting(int(model.version), role)

    async def _reseat_learner(self, horizon: int, name: str) -> None:
        """Its decisions are all that keeps its seat."""
        learner = self.learner(horizon, name)
        seat = self.place(horizon, learner.target, name)
        decisions = await self.store.registry.decisions(seat)
        if decisions and decisions[-1]["verdict"] in {Verdict.COLD_START, Verdict.PROMOTE}:
            self._take(horizon, learner, Role.MEMBER)

    def _refuse(self, row: Mapping[str, Any], error: ArtifactError) -> None:
        model = f"{row['name']}@{row['version']}"
        log.error("model refused", extra={"model": model, "reason": str(error)})
        line = error.of_all if isinstance(error, _UnreadError) else _refusal(row, error)
        if line not in self.refused:
            self.refused.append(line)


class _UnreadError(ArtifactError):
    """A model whose feature set is not made any more; its earlier versions read the same.

    Attributes:
        of_all: what is said once of all whose set it is.
    """

    def __init__(self, feature_set: str) -> None:
        ended = f"{feature_set} is not made any more"
        if of_release(feature_set):  # with what sources tell or without
            ended = f"{RELEASE.id} was retired"
        self.of_all = f"{ended}: models that read it have lost their places, the log names each"
        super().__init__(f"it reads {feature_set}: {ended}")


def _trigger(error: ArtifactError) -> str:
    return FEATURES if isinstance(error, _UnreadError) else ARTIFACT


def _label_of(row: Mapping[str, Any]) -> str:
    """The kind of label that a version is of; empty: it is of a target."""
    label: str = row["label_set"]
    return "" if label == LABEL_SET else label


def _refusal(row: Mapping[str, Any], error: ArtifactError) -> str:
    place = f"{row['exchange']} {row['timeframe']}, horizon {row['horizon']}"
    reason = str(error).replace(f"artifact {row['artifact_sha256']}", "artifact")
    return f"model {row['name']}@{row['version']} ({place}) refused: {reason}"
