"""Class labels and predictions of one (exchange, timeframe, horizon), for kinds switched on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from domain.classes import (
    VOID,
    Classifier,
    ClassLabelBatch,
    ClassPredictionBatch,
    LabelKind,
    label_id,
)
from domain.codec import pack, unpack
from domain.events import Bools, FeatureBatch, Floats, Ints, LabelBatch, Origin, origin_of
from domain.market import Instrument, Timeframe, to_ms
from domain.ports import Clock
from services.classes.grid import LabelGrid

PRIOR = "class_prior"
PRIOR_VERSION = "1"
MINIMUM_LABELS = 50
NO_SKILL, WARMING_UP = "no_skill", "warming_up"


def prior_of(counts: Ints) -> Floats:
    """Frequencies of classes that came true, Laplace +1, shape (k,); equal before 50 labels."""
    total = int(counts.sum())
    if total < MINIMUM_LABELS:
        return np.full(len(counts), 1 / len(counts))
    frequencies: Floats = (counts + 1) / (total + len(counts))
    return frequencies


@dataclass(slots=True, eq=False)
class _Subject:
    """A kind, how often each of its classes came true, and who predicts it."""

    kind: LabelKind
    counts: Ints
    models: dict[str, Classifier] = field(default_factory=dict)
    served: str = ""  # of `models`; "": the prior is served


@dataclass(frozen=True, slots=True)
class _Voice:
    """Who speaks, and what is against it."""

    model: str
    version: str
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """What the rows about a kind at a close have in common."""

    kind: LabelKind
    batch: FeatureBatch
    horizon: int
    made_at: datetime
    origin: Origin

    @classmethod
    def of(cls, kind: LabelKind, batch: FeatureBatch, horizon: int, now: datetime) -> _Head:
        made_at = max(now, batch.as_of)
        origin = origin_of(made_at, batch.as_of, batch.timeframe, horizon)
        return cls(kind, batch, horizon, made_at, origin)

    def rows(
        self, voice: _Voice, rows: Ints, probabilities: Floats, served: Bools
    ) -> ClassPredictionBatch:
        """Rows of the close's features, (m,), with their probabilities (m, classes)."""
        late = ("late",) if self.origin is Origin.LATE else ()
        return ClassPredictionBatch(
            exchange=self.batch.exchange,
            timeframe=self.batch.timeframe,
            as_of=self.batch.as_of,
            instruments=tuple(self.batch.instruments[row] for row in rows.tolist()),
            horizon=self.horizon,
            kind=label_id(self.kind),
            model=voice.model,
            version=voice.version,
            made_at=self.made_at,
            origin=self.origin,
            revision=self.batch.revision[rows],
            served=served,
            names=self.kind.classes,
            probabilities=probabilities,
            degraded=(",".join((*voice.codes, *late)),) * len(rows),
        )


class ClassRoom:
    """What each kind tells as labels become known, and what is said of it at each close.

    The class prior is served unless a model has the seat; a row that the seat's model cannot
    judge is the prior's as well. What is known at a close is first used at the next.
    """

    def __init__(
        self,
        exchange: str,
        timeframe: Timeframe,
        horizon: int,
        kinds: Sequence[LabelKind],
        clock: Clock,
    ) -> None:
        self.horizon = horizon
        self._place = (exchange, timeframe)
        self._clock = clock
        self._restored = False  # from a snapshot of the same kinds
        self._subjects = {
            label_id(kind): _Subject(kind, np.zeros(len(kind.classes), dtype=np.int64))
            for kind in kinds
        }
        memory = max((kind.memory for kind in kinds), default=0)
        self.grid = LabelGrid(timeframe, horizon, memory=memory, kinds=len(kinds))

    def seat(self, kind: str, model: Classifier, *, serves: bool) -> None:
        """Let a model predict a kind, in the place of the prior or on trial."""
        subject = self._subjects[kind]
        subject.models[model.name] = model
        if serves:
            subject.served = model.name
        elif subject.served == model.name:
            subject.served = ""

    def models(self, kind: str) -> Mapping[str, Classifier]:
        """Who predicts a kind beside the prior, by name."""
        return self._subjects[kind].models

    def on_features(self, batch: FeatureBatch) -> Iterable[ClassPredictionBatch]:
        """What the prior and the models say of a close.

        Of history only the prior, which knows no more than was known then.
        """
        self.grid.promise(batch.instruments, to_ms(batch.as_of))
        places = {one: row for row, one in enumerate(batch.instruments)}
        for subject in self._subjects.values():
            names = subject.kind.subjects(batch.instruments)
            rows = np.array([places[one] for one in names], dtype=np.int64)
            if len(rows):
                yield from self._said(subject, batch, rows)

    def on_labels(self, labels: LabelBatch) -> Iterable[ClassLabelBatch]:
        """What kinds tell of closes of which labels came, or came otherwise."""
        if (labels.exchange, labels.timeframe, labels.horizon) != (*self._place, self.horizon):
            return
        for as_of_ms, known_ms in self.grid.put(labels):
            for position, (name, subject) in enumerate(self._subjects.items()):
                close = self.grid.close(as_of_ms, subject.kind.memory)
                classes = subject.kind.tell(close)
                rows, revision, first = self.grid.enter(position, as_of_ms, classes)
                for one in first:
                    subject.counts[one] += one != VOID
                if not len(rows):
                    continue
                chosen = classes[rows]
                yield ClassLabelBatch(
                    exchange=labels.exchange,
                    timeframe=labels.timeframe,
                    horizon=self.horizon,
                    kind=name,
                    instruments=tuple(close.instruments[row] for row in rows.tolist()),
                    as_of_ms=np.full(len(rows), as_of_ms, dtype=np.int64),
                    revision=revision,
                    known_ms=np.full(len(rows), known_ms, dtype=np.int64),
                    names=subject.kind.classes,
                    classes=chosen,
                )

    def _said(
        self, subject: _Subject, batch: FeatureBatch, rows: Ints
    ) -> Iterable[ClassPredictionBatch]:
        head = _Head.of(subject.kind, batch, self.horizon, self._clock.now())
        models = {} if head.origin is Origin.BACKTEST else subject.models
        unserved = np.ones(len(rows), dtype=np.bool_)
        for name, model in models.items():
            said = model.probabilities(batch)[rows]
            judged: Bools = np.asarray(np.isfinite(said).all(axis=1))
            serves = judged if name == subject.served else np.zeros_like(judged)
            unserved &= ~serves
            if judged.any():
                voice = _Voice(name, model.version)
                yield head.rows(voice, rows[judged], said[judged], serves[judged])
        codes = [] if int(subject.counts.sum()) >= MINIMUM_LABELS else [WARMING_UP]
        codes += [] if subject.served in models else [NO_SKILL]
        prior = np.tile(prior_of(subject.counts), (len(rows), 1))
        voice = _Voice(f"{PRIOR}.{subject.kind.name}", PRIOR_VERSION, tuple(codes))
        yield head.rows(voice, rows, prior, unserved)

    def snapshot(self) -> bytes:
        state = {"kinds": [*self._subjects], "grid": np.frombuffer(self.grid.snapshot(), np.uint8)}
        counts = {kind: subject.counts for kind, subject in self._subjects.items()}
        return pack({**state, "counts": counts})

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot; where other kinds were on then, begin anew."""
        state = unpack(data)
        if state["kinds"] != [*self._subjects]:
            return
        self.grid.restore(state["grid"].tobytes())
        for kind, subject in self._subjects.items():
            subject.counts = state["counts"][kind]
        self._restored = True

    def recall(self, told: Iterable[tuple[str, Instrument, int, str | None]]) -> None:
        """What the record has been told after the snapshot that we go on from.

        Args:
            told: kind, whose, as_of in ms, class, in the order of revisions.
        """
        kinds = [*self._subjects]
        found: dict[tuple[int, Instrument, int], list[int]] = {}
        for kind, instrument, as_of_ms, name in told if self._restored else ():
            if kind in kinds:
                names = self._subjects[kind].kind.classes
                number = VOID if name is None else names.index(name)
                place = (kinds.index(kind), instrument, as_of_ms)
                found.setdefault(place, []).append(number)
        self.grid.recall(found)
