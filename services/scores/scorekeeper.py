"""Scores every prediction once, when its label is fully known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from domain.events import (
    LOSSES,
    Bools,
    Floats,
    Ints,
    LabelBatch,
    Origin,
    OutcomeBatch,
    PredictionBatch,
    Target,
)
from domain.losses import brier, covered, log_loss, pinball, qlike
from domain.market import Instrument, Timeframe, to_ms

SLACK_TICKS = 48  # beyond the horizon: how long an instrument may be silent before its rows expire


@dataclass(slots=True)
class _Waiting:
    """Rows of one prediction batch whose label is not known."""

    batch: PredictionBatch
    open: Bools  # (n,) False: scored, or said before
    void: Bools  # (n,) a candle is missing: unscored until the gap is filled
    rows: dict[Instrument, int]  # of `batch`; shared between batches of the same instruments


@dataclass(frozen=True, slots=True, eq=False)
class _Due:
    """Rows of a prediction batch and, for each, its label's position."""

    said: PredictionBatch
    rows: Ints
    positions: Ints


class Scorekeeper:
    """Outcomes of one (exchange, timeframe, horizon); each has the origin of what was said.

    The first revision of a row is scored, against the label as it stood when first known:
    where a candle is missing, once the gap is filled, if within horizon + 48 ticks.
    `counts` says what was not scored and why: `void` (a candle is missing), `expired`
    (no label within horizon + 48 ticks), `repeated` (a later revision, or said again) and
    `judged` (the label had been known before).
    """

    def __init__(self, exchange: str, timeframe: Timeframe, horizon: int) -> None:
        self._subject = (exchange, timeframe, horizon)
        self._horizon_ms = horizon * timeframe.ms
        self._patience_ms = (horizon + SLACK_TICKS) * timeframe.ms
        self._waiting: dict[int, list[_Waiting]] = {}  # by as_of
        self._newest_ms = 0
        self._members: tuple[Instrument, ...] = ()
        self._rows: dict[Instrument, int] = {}
        self.counts: Counter[str] = Counter()

    def on_predictions(self, batch: PredictionBatch) -> None:
        """Remember what was said; rows of other subjects are not looked at."""
        if (batch.exchange, batch.timeframe, batch.horizon) != self._subject:
            return
        as_of_ms = to_ms(batch.as_of)
        if as_of_ms + self._horizon_ms <= self._newest_ms:
            self.counts["judged"] += len(batch)
            return
        said = self._waiting.setdefault(as_of_ms, [])
        rows = self._index(batch.instruments)
        fresh = np.ones(len(batch), dtype=np.bool_)
        for before in said:
            if (before.batch.role, before.batch.model) == (batch.role, batch.model):
                fresh &= [one not in before.rows for one in batch.instruments]
        self.counts["repeated"] += int(len(batch) - fresh.sum())
        said.append(_Waiting(batch, fresh, np.zeros_like(fresh), rows))
        if as_of_ms > self._newest_ms:
            self._newest_ms = as_of_ms
            self._expire()

    def on_labels(self, batch: LabelBatch, at: datetime) -> list[OutcomeBatch]:
        """Outcomes of the rows whose label is complete in `batch`; a label only touched waits."""
        if (batch.exchange, batch.timeframe, batch.horizon) != self._subject:
            return []
        outcomes: list[OutcomeBatch] = []
        complete = np.flatnonzero(batch.known_ms > 0)
        for as_of_ms in np.unique(batch.as_of_ms[complete]).tolist():
            waiting = self._waiting.get(as_of_ms, [])
            labels = complete[batch.as_of_ms[complete] == as_of_ms]
            names = [batch.instruments[i] for i in labels.tolist()]
            found: dict[int, Ints] = {}  # positions by index: most batches share one
            due: list[_Due] = []
            for said in waiting:
                if id(said.rows) not in found:
                    found[id(said.rows)] = np.array([said.rows.get(name, -1) for name in names])
                due += self._settle(said, batch, (found[id(said.rows)], labels))
            outcomes += scores(due, batch, at)
            if waiting and not any(said.open.any() for said in waiting):
                del self._waiting[as_of_ms]
        return outcomes

    def restore(self, pending: Iterable[PredictionBatch]) -> None:
        """Begin with stored predictions that have no outcome yet, in any order.

        What was said live is what the live record scores, whatever was said of the row later.
        """
        order = list(Origin)
        for batch in sorted(pending, key=lambda one: (one.as_of, order.index(one.origin))):
            self.on_predictions(batch)

    @property
    def pending(self) -> int:
        """Rows that wait for their label."""
        every = (said for waiting in self._waiting.values() for said in waiting)
        return sum(int((said.open & ~said.void).sum()) for said in every)

    def _settle(self, said: _Waiting, labels: LabelBatch, pairs: tuple[Ints, Ints]) -> list[_Due]:
        rows, positions = pairs
        due = (rows >= 0) & said.open[rows]
        void = due & np.isnan(labels.log_return[positions])
        scored = due & ~void
        self.counts["void"] += int((void & ~said.void[rows]).sum())
        self.counts["void"] -= int((scored & said.void[rows]).sum())
        said.void[rows[void]] = True
        said.open[rows[scored]] = False
        return [_Due(said.batch, rows[scored], positions[scored])] if scored.any() else []

    def _index(self, instruments: tuple[Instrument, ...]) -> dict[Instrument, int]:
        if instruments != self._members:
            self._members = instruments
            self._rows = {one: row for row, one in enumerate(instruments)}
        return self._rows

    def _expire(self) -> None:
        oldest = self._newest_ms - self._patience_ms
        for as_of_ms in [as_of for as_of in self._waiting if as_of < oldest]:
            waiting = self._waiting.pop(as_of_ms)
            self.counts["expired"] += sum(int((said.open & ~said.void).sum()) for said in waiting)


def scores(due: Sequence[_Due], labels: LabelBatch, at: datetime) -> list[OutcomeBatch]:
    """The losses of rows of prediction batches against labels of the same close.

    Args:
        due: what was forecast, of any origin, which the outcome keeps.
        labels: complete labels.
        at: when they are scored.
    """
    tables = {id(one): np.full((len(one.rows), len(LOSSES)), np.nan) for one in due}
    for losses, targets in _LOSSES:
        # Forecasters of a target are judged together: a tick has few rows of each.
        alike = [one for one in due if one.said.target in targets]
        if not alike:
            continue
        positions = np.concatenate([one.positions for one in alike])
        ends = np.cumsum([len(one.rows) for one in alike])[:-1]
        for name, values in losses(alike, labels, positions).items():
            for one, part in zip(alike, np.split(values, ends), strict=True):
                tables[id(one)][:, LOSSES.index(name)] = part
    return [_outcome(one, tables[id(one)], at) for one in due]


def _outcome(due: _Due, losses: Floats, at: datetime) -> OutcomeBatch:
    said, rows = due.said, due.rows
    # Mostly all of them: what is one tuple is numbered once.
    chosen = tuple(said.instruments[row] for row in rows.tolist())
    return OutcomeBatch(
        exchange=said.exchange,
        timeframe=said.timeframe,
        horizon=said.horizon,
        role=said.role,
        model=said.model,
        version=said.version,
        scored_at=at,
        instruments=said.instruments if chosen == said.instruments else chosen,
        as_of_ms=np.full(len(rows), to_ms(said.as_of), dtype=np.int64),
        revision=said.revision[rows],
        origin=said.origin,
        losses=losses,
    )


def _of_direction(due: Sequence[_Due], labels: LabelBatch, at: Ints) -> dict[str, Floats]:
    probabilities = np.concatenate([one.said.probabilities[one.rows] for one in due])
    outcome = labels.outcome[at]
    return {"log_loss": log_loss(probabilities, outcome), "brier": brier(probabilities, outcome)}


def _of_quantiles(due: Sequence[_Due], labels: LabelBatch, at: Ints) -> dict[str, Floats]:
    quantiles = np.concatenate([one.said.quantiles[one.rows] for one in due])
    log_return = labels.log_return[at]
    return {"pinball": pinball(quantiles, log_return), "covered": covered(quantiles, log_return)}


def _of_volatility(due: Sequence[_Due], labels: LabelBatch, at: Ints) -> dict[str, Floats]:
    volatility = np.concatenate([one.said.volatility[one.rows] for one in due])
    return {"qlike": qlike(volatility, labels.realized_volatility[at])}


# A served row forecasts everything.
_LOSSES: Final = (
    (_of_direction, (Target.DIRECTION, Target.SERVED)),
    (_of_quantiles, (Target.QUANTILES, Target.SERVED)),
    (_of_volatility, (Target.VOLATILITY, Target.SERVED)),
)
