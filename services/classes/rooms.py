"""The class rooms of a panel, one for each horizon, and who takes a seat in them when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.classes import Classifier, ClassLabelBatch, ClassPredictionBatch, LabelKind
from domain.events import FeatureBatch, LabelBatch
from domain.market import Timeframe
from domain.ports import Clock
from domain.topics import CLASS_PREDICTIONS, CLASSES, FEATURES, LABELS
from services.classes.room import ClassRoom
from services.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSeat:
    """A model of class labels that speaks, from the first close at or after `effective_from`."""

    model: Classifier
    serves: bool  # False: on trial
    label: str  # `regime@1`
    horizon: int
    effective_from: datetime


class ClassRooms:
    """None where no kind of label is switched on."""

    def __init__(
        self,
        place: tuple[str, Timeframe],
        horizons: Iterable[int],
        kinds: Sequence[LabelKind],
        clock: Clock,
    ) -> None:
        self.kinds = tuple(kinds)
        self.rooms = {
            h: ClassRoom(*place, h, self.kinds, clock) for h in (horizons if kinds else ())
        }
        self._seats: list[ClassSeat] = []

    def schedule(self, seat: ClassSeat) -> None:
        """A model takes its place when its time has come."""
        self._seats.append(seat)

    def seat_due(self, as_of: datetime) -> list[ClassSeat]:
        """Seat those whose time has come; called before the tick at `as_of`."""
        due = [seat for seat in self._seats if seat.effective_from <= as_of]
        self._seats = [seat for seat in self._seats if seat.effective_from > as_of]
        for seat in due:
            self.rooms[seat.horizon].seat(seat.label, seat.model, serves=seat.serves)
        return due

    def on_features(self, batch: FeatureBatch) -> Iterable[ClassPredictionBatch]:
        """What is said of the classes to come."""
        return [one for room in self.rooms.values() for one in room.on_features(batch)]

    def on_labels(self, labels: LabelBatch) -> Iterable[ClassLabelBatch]:
        """What follows from labels that are known now, or known otherwise."""
        return [one for room in self.rooms.values() for one in room.on_labels(labels)]

    def stages(self) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
        """What is said, before the members; and what is known, after the labels."""
        if not self.rooms:
            return (), ()
        said = Stage(
            name="class_predictions",
            reads=(FEATURES,),
            writes=(CLASS_PREDICTIONS,),
            step=self.on_features,
        )
        known = Stage(name="class_labels", reads=(LABELS,), writes=(CLASSES,), step=self.on_labels)
        return (said,), (known,)

    def snapshot(self) -> dict[str, str]:
        """Part of a panel's."""
        return {f"{h}/classes": room.snapshot().hex() for h, room in self.rooms.items()}

    def restore(self, state: Mapping[str, str]) -> None:
        """Continue from a panel's snapshot; rooms that it does not have begin."""
        for horizon, room in self.rooms.items():
            if (before := state.get(f"{horizon}/classes")) is not None:
                room.restore(bytes.fromhex(before))
