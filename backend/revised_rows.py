"""Which of the rows that were made again differ from what stands, and with what revision."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, MutableMapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from backend.store.rows import feature_hashes, ints
from backend.store.standing import FeatureRow, Key, LabelRow, Standing, ToldRow
from domain.events import (
    FeatureBatch,
    Ints,
    LabelBatch,
    OutcomeBatch,
    PredictionBatch,
    Role,
    SentimentBatch,
)
from domain.market import EPOCH, Instrument, from_ms, to_ms

Ids = Mapping[Instrument, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Different:
    """What is to be written of rows that were made again."""

    features: list[FeatureBatch]
    told: list[SentimentBatch]  # beside them
    labels: list[LabelBatch]
    filled: list[LabelBatch]  # of them, what was void or not there and is now known
    judged: set[tuple[int, Instrument, int]]  # horizon, whose, as_of: by an earlier revision


async def different(
    renewal: Renewal,
    standing: Standing,
    features: Sequence[FeatureBatch],
    labels: Sequence[LabelBatch],
) -> Different:
    """Compare rows of one panel with the record.

    Args:
        renewal: the times that they are given.
        standing: the record.
        features: of ticks that follow each other, of one feature set or of several.
        labels: in their order.
    """
    numbers = list(renewal.ids.values())
    found = Different(features=[], told=[], labels=[], filled=[], judged=set())
    since = await standing.since(numbers, features[0].timeframe) if features else EPOCH
    kept = [batch for batch in features if batch.as_of >= since]  # others were dropped
    for ours in _by_set(kept):
        first, last, of = ours[0].as_of, ours[-1].as_of, ours[0].feature_set.id
        rows = await standing.features(numbers, ours[0].timeframe, of, first=first, last=last)
        found.features.extend(await asyncio.to_thread(renewal.all_features, ours, rows))
    told = _told_once(features)
    if told:
        one, first, last = told[0], told[0].as_of, told[-1].as_of
        stored = await standing.told(
            numbers, one.timeframe, one.feature_set.id, first=first, last=last
        )
        found.told.extend(part for batch in told for part in renewal.told(batch, stored))
    for horizon in sorted({batch.horizon for batch in labels}):
        theirs = [batch for batch in labels if batch.horizon == horizon and len(batch)]
        if theirs:
            closes = np.concatenate([batch.as_of_ms for batch in theirs])
            first, last = from_ms(int(closes.min())), from_ms(int(closes.max()))
            stand = await standing.labels(
                numbers, theirs[0].timeframe, horizon, first=first, last=last
            )
            for label in theirs:
                changed, filled = renewal.labels(label, stand)
                found.labels.extend([changed] if len(changed) else [])
                found.filled.extend([changed.take(filled)] if len(filled) else [])
            names = {number: one for one, number in renewal.ids.items()}
            found.judged.update(
                (horizon, names[number], as_of_ms)
                for (number, as_of_ms), row in stand.items()
                if row.revision > 1
            )
    for label in found.filled:
        keys = zip(label.instruments, label.as_of_ms.tolist(), strict=True)
        found.judged.difference_update((label.horizon, *key) for key in keys)
    return found


def _by_set(features: Sequence[FeatureBatch]) -> list[list[FeatureBatch]]:
    """The batches of each feature set."""
    found: dict[str, list[FeatureBatch]] = {}
    for batch in features:
        found.setdefault(batch.feature_set.id, []).append(batch)
    return list(found.values())


def _told_once(features: Sequence[FeatureBatch]) -> list[SentimentBatch]:
    """What sources told, which the rows of each set have beside them."""
    batches = (batch.told for batch in features if batch.told is not None and batch.told.status)
    return list({id(told): told for told in batches}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """One comparison with the record.

    Args:
        ids: numbers of the instruments.
        at_ms: when a row that differs from what stands is known.
        fresh_ms: when one that nobody has made before is known at the earliest.
    """

    ids: Ids
    at_ms: int
    fresh_ms: int

    def all_features(
        self, made: Sequence[FeatureBatch], standing: Mapping[Key, FeatureRow]
    ) -> list[FeatureBatch]:
        """`features` of each."""
        return [part for batch in made for part in self.features(batch, standing)]

    def features(
        self, made: FeatureBatch, standing: Mapping[Key, FeatureRow]
    ) -> list[FeatureBatch]:
        """The rows of `made` that are new, and those that differ, with their revision."""
        as_of_ms = to_ms(made.as_of)
        kept = [standing.get((self.ids[one], as_of_ms)) for one in made.instruments]
        if not any(kept):
            return [_features(made, range(len(made)), kept, self.fresh_ms)]
        facts = zip(
            made.candle_revision.tolist(),
            made.coverage.tolist(),
            feature_hashes(made.values),
            strict=True,
        )
        pairs = list(enumerate(zip(kept, facts, strict=True)))
        fresh = [row for row, (old, _) in pairs if old is None]
        other = [row for row, (old, new) in pairs if old is not None and old[1:] != new]
        parts = ((fresh, self.fresh_ms), (other, self.at_ms))
        return [_features(made, rows, kept, known_ms) for rows, known_ms in parts if rows]

    def told(self, made: SentimentBatch, standing: Mapping[Key, ToldRow]) -> list[SentimentBatch]:
        """As `features`, of what sources told."""
        as_of_ms = to_ms(made.as_of)
        kept = [standing.get((self.ids[one], as_of_ms)) for one in made.instruments]
        pairs = list(enumerate(zip(kept, feature_hashes(made.values), strict=True)))
        fresh = [row for row, (old, _) in pairs if old is None]
        other = [row for row, (old, new) in pairs if old is not None and old.row_hash != new]
        revision = ints([1 if old is None else old.revision + 1 for old in kept])
        return [
            replace(
                _told(made, rows),
                revision=revision[rows],
                known_at=max(made.known_at, from_ms(known_ms)),
            )
            for rows, known_ms in ((fresh, self.fresh_ms), (other, self.at_ms))
            if rows
        ]

    def labels(
        self, made: LabelBatch, standing: MutableMapping[Key, LabelRow]
    ) -> tuple[LabelBatch, Ints]:
        """The rows of `made` that are new, complete or differ; which of them nobody knew.

        One that says the same of the direction as the half that stands completes it under
        its key; any other difference has the next revision.

        Args:
            made: labels.
            standing: brought up to date, so that a label's halves may follow each other.
        """
        chosen: list[int] = []
        filled: list[int] = []
        revision = made.revision.copy()
        times = np.stack([made.direction_known_ms, made.known_ms])
        for row, new in enumerate(_label_rows(made)):
            key = (self.ids[made.instruments[row]], int(made.as_of_ms[row]))
            kept = standing.get(key)
            if kept is not None and _has(kept, new):
                continue
            number, since_ms = new.revision, self.fresh_ms
            if kept is not None:
                completes = _completes(new, kept)
                number = kept.revision + (not completes)
                since_ms = 0 if completes else self.at_ms
            standing[key] = new._replace(revision=number)
            revision[row] = number
            known = times[:, row] > 0
            times[known, row] = np.maximum(times[known, row], since_ms)
            if new.complete and not new.void and (kept is None or kept.void):
                filled.append(len(chosen))
            chosen.append(row)
        direction_known, known_ms = times
        found = replace(
            made, revision=revision, direction_known_ms=direction_known, known_ms=known_ms
        )
        return found.take(ints(chosen)), ints(filled)


def unsaid(events: Iterable[object], said: Iterable[PredictionBatch]) -> list[object]:
    """`events` without the predictions of `said`.

    Made again from candles that have changed since, they would say something else.
    """
    known: dict[_Said, set[Instrument]] = {}
    for one in said:
        known.setdefault(_said(one), set()).update(one.instruments)
    found: list[object] = []
    for event in events:
        if not isinstance(event, PredictionBatch):
            found.append(event)
            continue
        before = known.get(_said(event), set())
        rows = [row for row, one in enumerate(event.instruments) if one not in before]
        whole = len(rows) == len(event)
        found.extend([event if whole else event.take(ints(rows))] if rows else [])
    return found


def unjudged(batch: OutcomeBatch, judged: Set[tuple[int, Instrument, int]]) -> OutcomeBatch | None:
    """The rows whose label is none of `judged`: a prediction is scored by its first one."""
    keys = zip(batch.instruments, batch.as_of_ms.tolist(), strict=True)
    rows = [row for row, key in enumerate(keys) if (batch.horizon, *key) not in judged]
    if len(rows) == len(batch):
        return batch
    chosen = ints(rows)
    return (
        None
        if not rows
        else replace(
            batch,
            instruments=tuple(batch.instruments[row] for row in rows),
            as_of_ms=batch.as_of_ms[chosen],
            revision=batch.revision[chosen],
            losses=batch.losses[chosen],
        )
    )


_Said = tuple[datetime, int, Role, str]


def _said(batch: PredictionBatch) -> _Said:
    return batch.as_of, batch.horizon, batch.role, batch.model


def _features(
    made: FeatureBatch, rows: Sequence[int], kept: Sequence[FeatureRow | None], known_ms: int
) -> FeatureBatch:
    chosen = ints(rows)
    before = [kept[row] for row in rows]
    return replace(
        made,
        instruments=tuple(made.instruments[row] for row in rows),
        values=made.values[chosen],
        coverage=made.coverage[chosen],
        revision=ints([1 if one is None else one.revision + 1 for one in before]),
        candle_revision=made.candle_revision[chosen],
        known_at=max(made.known_at, from_ms(known_ms)),
        told=None if made.told is None else _told(made.told, rows),
    )


def _told(made: SentimentBatch, rows: Sequence[int]) -> SentimentBatch:
    chosen = ints(rows)
    return replace(
        made,
        instruments=tuple(made.instruments[row] for row in rows),
        values=made.values[chosen],
        revision=made.revision[chosen],
    )


def complete(labels: LabelBatch) -> LabelBatch:
    """The rows whose horizon has passed."""
    return labels.take(np.flatnonzero(labels.known_ms > 0))


def _label_rows(made: LabelBatch) -> list[LabelRow]:
    void = np.isnan(made.log_return) & (made.known_ms > 0)
    facts = (made.revision, void, made.known_ms > 0, made.direction_known_ms > 0)
    answers = (
        made.outcome,
        made.weight,
        made.log_return,
        made.realized_volatility,
        made.uniqueness,
    )
    columns = [column.tolist() for column in (*facts, *answers)]
    rows = zip(*columns, strict=True)
    return [LabelRow(revision, v, c, t, tuple(rest)) for revision, v, c, t, *rest in rows]


def _has(kept: LabelRow, new: LabelRow) -> bool:
    """Whether `kept` is the same, or a whole label of which `new` is only the touch."""
    if kept.complete and not new.complete:
        return True
    same = (new.void, new.complete, new.touched) == (kept.void, kept.complete, kept.touched)
    return same and _equal(new.answers, kept.answers)


def _completes(new: LabelRow, kept: LabelRow) -> bool:
    if kept.complete or not new.complete:
        return False
    return (
        new.void
        or not kept.touched
        or (_equal(new.answers[:2], kept.answers[:2]) and _equal(new.answers[4:], kept.answers[4:]))
    )


def _equal(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    """NaN equals NaN."""
    pairs = zip(left, right, strict=True)
    return all(one == other or (one != one and other != other) for one, other in pairs)  # noqa: PLR0124 - NaN
