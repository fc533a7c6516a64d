"""One served prediction with all that it can be held to: its event, its label, its score."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import orjson

from backend.api import rows
from backend.api.explanations import PredictionId, unspoken
from backend.api.shelves import PREDICTIONS
from backend.store.payloads import stream_name
from backend.store.stream_log import StreamEvent, log_of
from backend.store.stream_reads import offsets_at, read_log, read_range
from domain.market import Instrument, Timeframe, rfc3339

NEAR: Final = 64  # events of a stream that may lie between a row's making and its own event
_SERVED: Final = f"""
    SELECT {PREDICTIONS.columns}, t.instrument_id, t.feature_set, t.feature_revision
    FROM ml_predictions t JOIN instruments i USING (instrument_id)
    WHERE i.exchange = $1 AND i.symbol = $2 AND t.timeframe = $3 AND t.horizon = $4
      AND t.as_of = $5 AND t.revision = $6 AND t.role = 'champion' AND t.model = 'served'
    """  # noqa: S608 - names are ours
# As it stood when it was first known: what the track record counts.
_LABEL: Final = """
    SELECT label_set, revision, outcome, log_return, realized_volatility, void,
           direction_known_at, known_at
    FROM ml_labels
    WHERE instrument_id = $1 AND timeframe = $2 AND horizon = $3 AND as_of = $4
      AND known_at IS NOT NULL
    ORDER BY revision LIMIT 1
    """
_SCORE: Final = """
    SELECT scored_at, log_loss, brier, pinball, qlike, covered FROM ml_prediction_outcomes
    WHERE instrument_id = $1 AND timeframe = $2 AND horizon = $3 AND as_of = $4 AND revision = $5
      AND role = 'champion' AND model = 'served'
    """


async def read_prediction(connection: asyncpg.Connection, wanted: PredictionId) -> dict[str, Any]:
    """A served row, and what became of it.

    Raises:
        ProblemError: `not_found`.
    """
    place = (wanted.timeframe, wanted.horizon)
    served = await connection.fetchrow(
        _SERVED, wanted.exchange, wanted.symbol, *place, wanted.as_of, wanted.revision
    )
    if served is None:
        raise unspoken(wanted)
    row = rows.prediction(served)
    number = row.pop("instrument_id")
    read = {name: row.pop(name) for name in ("feature_set", "feature_revision")}
    label = await connection.fetchrow(_LABEL, number, *place, wanted.as_of)
    score = await connection.fetchrow(_SCORE, number, *place, wanted.as_of, wanted.revision)
    event = await _event(connection, wanted, served)
    return {
        "id": str(wanted),
        "prediction": row,
        **read,
        "published": None if event is None else _published(event),
        "label": None if label is None else dict(label),
        "score": None if score is None else dict(score),
    }


async def _event(
    connection: asyncpg.Connection, wanted: PredictionId, served: asyncpg.Record
) -> StreamEvent | None:
    """The event that told of the row, in the log behind the time at which it was made."""
    instrument = Instrument(wanted.exchange, wanted.symbol)
    stream = stream_name("predictions", Timeframe(wanted.timeframe), instrument)
    log = await read_log(connection, log_of(stream))
    if log is None or stream not in log.places:
        return None
    low = (await offsets_at(connection, log, [stream], served["made_at"]))[stream]
    high = min(low + NEAR, log.offsets[log.places[stream] - 1])
    events = await read_range(connection, log, stream, low, high) if high > low else []
    said = (rfc3339(wanted.as_of), wanted.horizon, wanted.revision)
    return next((one for one in events if _names(one) == said), None)


def _names(event: StreamEvent) -> tuple[str, int, int] | None:
    """The row that an event told of; None where it was edited, and tells of none."""
    try:
        told = orjson.loads(event.payload)
        return told["as_of"], told["horizon"], told["revision"]
    except (ValueError, LookupError, TypeError):
        return None


def _published(event: StreamEvent) -> dict[str, Any]:
    return {
        "stream": event.stream,
        "epoch": event.epoch,
        "offset": event.offset,
        "ts": event.published_at,
        "hash": event.hash,
    }
