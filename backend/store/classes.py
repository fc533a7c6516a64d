"""Class labels and their predictions as rows, and read back: for fits, for seats, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import numpy as np
import orjson

from backend.store.copy import Rows
from backend.store.database import PoolOrConnection
from backend.store.tables import ml_class_labels, ml_class_predictions
from domain.classes import ClassLabelBatch, ClassPredictionBatch
from domain.events import Examples, Floats, Ints
from domain.losses import SMALLEST_PROBABILITY
from domain.market import Horizon, Instrument

# Ticks that are played again at a start tell them again, perhaps otherwise where a candle has
# changed since: what was told first stays.
LABEL_ANSWERS: Final = ("known_at", "class")
PREDICTION_ANSWERS: Final = (
    *("version", "made_at", "origin", "served", "degraded", "probabilities"),
)

# The newest revision that was known, of labels that are not void.
_CLASSES: Final = """
SELECT symbol, (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, class,
       (extract(epoch FROM known_at) * 1000)::bigint AS known_ms
FROM (
    SELECT DISTINCT ON (instrument_id, as_of) instrument_id, symbol, as_of, class, known_at
    FROM ml_class_labels JOIN instruments USING (instrument_id)
    WHERE exchange = $1 AND timeframe = $2 AND horizon = $3 AND label_kind = $4 AND known_at <= $5
    ORDER BY instrument_id, as_of, revision DESC
) AS newest
WHERE class IS NOT NULL
"""
# The first revision of what was said, against the label as it was first known.
SCORED: Final = f"""
WITH said AS (
    SELECT DISTINCT ON (instrument_id, label_kind, as_of, model) *
    FROM ml_class_predictions JOIN instruments USING (instrument_id)
    WHERE ($1::text IS NULL OR exchange = $1) AND ($2::text IS NULL OR timeframe = $2)
      AND horizon = $3 AND ($4::text IS NULL OR label_kind = $4) AND origin = 'live'
      AND as_of >= $5
    ORDER BY instrument_id, label_kind, as_of, model, revision
), came AS (
    SELECT DISTINCT ON (instrument_id, timeframe, label_kind, as_of)
        instrument_id, timeframe, label_kind, as_of, class
    FROM ml_class_labels WHERE horizon = $3 AND class IS NOT NULL AND as_of >= $5
    ORDER BY instrument_id, timeframe, label_kind, as_of, revision
)
SELECT instrument_id, (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, label_kind, model,
       version, served, degraded, class,
       -ln(greatest((probabilities ->> class)::float8, {SMALLEST_PROBABILITY})) AS loss
FROM said JOIN came USING (instrument_id, timeframe, label_kind, as_of)
ORDER BY as_of, instrument_id
"""  # noqa: S608 - a number of ours


_TOLD: Final = """
SELECT label_kind, symbol, (extract(epoch FROM as_of) * 1000)::bigint AS as_of_ms, class
FROM ml_class_labels JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND timeframe = $2 AND horizon = $3 AND as_of > $4
ORDER BY label_kind, symbol, as_of, revision
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredClasses:
    """What one model said of one kind of label, judged; sorted by (as_of, instrument)."""

    as_of_ms: Ints  # (m,)
    instrument: Ints  # (m,)
    served: Floats  # (m,) 1 where it was
    loss: Floats  # (m,) log loss

    def shared(self, other: ScoredClasses) -> tuple[Ints, Ints, Ints]:
        """The rows that both have: their as_of, and positions in this one and in the other."""
        key, its = (one.as_of_ms * 1_000_000 + one.instrument for one in (self, other))
        _, ours, theirs = np.intersect1d(key, its, return_indices=True)
        return self.as_of_ms[ours], ours, theirs


def label_rows(batch: ClassLabelBatch, ids: Ints) -> Rows:
    """Rows of `ml_class_labels`."""
    return Rows(
        ml_class_labels,
        len(batch),
        {
            "instrument_id": ids,
            "timeframe": batch.timeframe.value,
            "label_kind": batch.kind,
            "horizon": batch.horizon,
            "as_of": batch.as_of_ms,
            "revision": batch.revision,
            "known_at": batch.known_ms,
            "class": [None if one < 0 else batch.names[one] for one in batch.classes.tolist()],
        },
    )


def prediction_rows(batch: ClassPredictionBatch, ids: Ints) -> Rows:
    """Rows of `ml_class_predictions`."""
    return Rows(
        ml_class_predictions,
        len(batch),
        {
            "instrument_id": ids,
            "timeframe": batch.timeframe.value,
            "label_kind": batch.kind,
            "horizon": batch.horizon,
            "as_of": batch.as_of,
            "revision": batch.revision,
            "model": batch.model,
            "version": batch.version,
            "made_at": batch.made_at,
            "origin": batch.origin.value,
            "served": batch.served,
            "degraded": batch.degraded,
            "probabilities": [
                orjson.dumps(dict(zip(batch.names, row, strict=True)))
                for row in batch.probabilities.tolist()
            ],
        },
    )


async def told_after(
    pool: asyncpg.Pool, exchange: str, horizon: Horizon, after: datetime
) -> list[tuple[str, Instrument, int, str | None]]:
    """Kind, whose, as_of in ms, class (None: void) of closes after `after`, by revision."""
    rows = await pool.fetch(_TOLD, exchange, horizon.timeframe.value, horizon.steps, after)
    return [
        (row["label_kind"], Instrument(exchange, row["symbol"]), row["as_of_ms"], row["class"])
        for row in rows
    ]


async def classes_of(
    pool: asyncpg.Pool,
    examples: Examples,
    horizon: Horizon,
    *,
    kind: str,
    names: Sequence[str],
    until: datetime,
) -> tuple[Ints, Ints, Ints]:
    """The classes of examples, as they were known at `until`.

    Args:
        pool: of the database.
        examples: of one exchange.
        horizon: of the labels.
        kind: `regime@1`.
        names: of its classes.
        until: nothing known later counts.

    Returns:
        Positions of the examples that have one, by when it was known; the classes; and that.
    """
    places = {
        (one.symbol, as_of_ms): position
        for position, (one, as_of_ms) in enumerate(
            zip(examples.instruments, examples.as_of_ms.tolist(), strict=True)
        )
    }
    exchange = examples.instruments[0].exchange if len(examples) else ""
    rows = await pool.fetch(_CLASSES, exchange, horizon.timeframe.value, horizon.steps, kind, until)
    found = [
        (row["known_ms"], places[key], names.index(row["class"]))
        for row in rows
        if (key := (row["symbol"], row["as_of_ms"])) in places
    ]
    table = np.array(sorted(found), dtype=np.int64).reshape(-1, 3)
    return table[:, 1], table[:, 2], table[:, 0]


async def scored(
    place: PoolOrConnection,
    horizon: int,
    *,
    exchange: str | None = None,
    timeframe: str | None = None,
    kind: str | None = None,
    since: datetime,
) -> dict[tuple[str, str], ScoredClasses]:
    """Live predictions whose class is known, by kind and model."""
    rows = await place.fetch(SCORED, exchange, timeframe, horizon, kind, since)
    parts: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        parts.setdefault((row["label_kind"], row["model"]), []).append(row)
    return {key: _scored(part) for key, part in parts.items()}


def _scored(rows: Sequence[asyncpg.Record]) -> ScoredClasses:
    return ScoredClasses(
        as_of_ms=np.array([row["as_of_ms"] for row in rows], dtype=np.int64),
        instrument=np.array([row["instrument_id"] for row in rows], dtype=np.int64),
        served=np.array([row["served"] for row in rows], dtype=np.float64),
        loss=np.array([row["loss"] for row in rows], dtype=np.float64),
    )
