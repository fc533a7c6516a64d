"""From the events that travel to the rows of their tables."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import orjson

from backend.store.copy import Rows
from backend.store.payloads import floats, spelled_votes
from backend.store.tables import (
    LABEL_SET,
    ml_features_ohlcv,
    ml_features_sentiment,
    ml_labels,
    ml_prediction_outcomes,
    ml_predictions,
    skill_verdicts,
    trading_signals,
)
from domain.events import (
    LOSSES,
    FeatureBatch,
    Floats,
    Ints,
    LabelBatch,
    OutcomeBatch,
    PredictionBatch,
    SentimentBatch,
    Signal,
    SignalBatch,
    Skill,
)
from domain.market import to_ms

HASH_BYTES: Final = 16  # rows are told apart here; the stream log is what signs

# The columns of a signal that the market fills in.
SIGNAL_ANSWERS: Final = (
    "status",
    "entry_price",
    "stop",
    "take",
    "closed_at",
    "exit_price",
    "realized_return",
)
# A signal that is closed stays closed.
SIGNAL_GUARD: Final = "kept.closed_at IS NULL OR EXCLUDED.closed_at IS NOT NULL"
LABEL_ANSWERS: Final = (
    "direction_known_at",
    "known_at",
    "outcome",
    "weight",
    "log_return",
    "realized_volatility",
    "uniqueness",
    "void",
)
# A label that is known is not made unknown by a late repetition of its first half.
LABEL_GUARD: Final = "EXCLUDED.known_at IS NOT NULL OR kept.known_at IS NULL"
SKILL_ANSWERS: Final = ("baseline", "skill", "low", "high", "blocks", "count", "no_skill")


def feature_hashes(values: Floats) -> list[bytes]:
    """The hash of each feature row: of its little-endian float64, every NaN alike."""
    width = values.shape[1] * 8
    content = np.where(np.isnan(values), np.nan, values).astype("<f8", copy=False).tobytes()
    return [
        blake2b(content[start : start + width], digest_size=HASH_BYTES).digest()
        for start in range(0, len(content), width)
    ]


def feature_rows(batch: FeatureBatch, ids: Ints) -> Rows:
    """Rows of `ml_features_ohlcv`."""
    return Rows(
        ml_features_ohlcv,
        len(batch),
        {
            "instrument_id": ids,
            "timeframe": batch.timeframe.value,
            "feature_set": batch.feature_set.id,
            "as_of": batch.as_of,
            "revision": batch.revision,
            "known_at": batch.known_at,
            "candle_revision": batch.candle_revision,
            "coverage": batch.coverage,
            "row_hash": feature_hashes(batch.values),
            "values": batch.values,
        },
    )


def sentiment_rows(batch: SentimentBatch, ids: Ints) -> Rows:
    """Rows of `ml_features_sentiment`."""
    return Rows(
        ml_features_sentiment,
        len(batch),
        {
            "instrument_id": ids,
            "timeframe": batch.timeframe.value,
            "feature_set": batch.feature_set.id,
            "as_of": batch.as_of,
            "revision": batch.revision,
            "known_at": batch.known_at,
            "source_status": orjson.dumps(dict(batch.status)),
            "row_hash": feature_hashes(batch.values),
            "values": batch.values,
        },
    )


def prediction_rows(batch: PredictionBatch, ids: Ints) -> Rows:
    """Rows of `ml_predictions`."""
    down, flat, up = batch.probabilities.T
    q10, q50, q90 = batch.quantiles.T
    return Rows(
        ml_predictions,
        len(batch),
        {
            "instrument_id": ids,
            "timeframe": batch.timeframe.value,
            "horizon": batch.horizon,
            "as_of": batch.as_of,
            "revision": batch.revision,
            "role": batch.role.value,
            "model": batch.model,
            "version": batch.version,
            "target": batch.target.value,
            "members": orjson.dumps(dict(batch.members)) if batch.members else None,
            "made_at": batch.made_at,
            "origin": batch.origin.value,
            "p_down": down,
            "p_flat": flat,
            "p_up": up,
            "q10": q10,
            "q50": q50,
            "q90": q90,
            "volatility": batch.volatility,
            "degraded": batch.degraded if any(batch.degraded) else "",
            "feature_set": batch.feature_set,
            "feature_revision": batch.feature_revision,
            "dissimilarity": _distances(batch),
        },
    )


def signal_rows(batch: SignalBatch, ids: Ints) -> Rows:
    """Rows of `trading_signals`; `ids` are of `batch.signals`."""
    signals = batch.signals
    return Rows(
        trading_signals,
        len(signals),
        {
            "instrument_id": ids,
            "timeframe": batch.timeframe.value,
            "horizon": ints([signal.horizon for signal in signals]),
            "as_of": ints([signal.as_of_ms for signal in signals]),
            "revision": ints([signal.revision for signal in signals]),
            "side": [signal.side for signal in signals],
            "strength": floats(signals, "strength"),
            "gate": [signal.gate for signal in signals],
            "size_fraction": floats(signals, "size_fraction"),
            "expires_at": ints([signal.expires_ms for signal in signals]),
            "model": [signal.model for signal in signals],
            "version": [signal.version for signal in signals],
            "made_at": ints([signal.made_ms for signal in signals]),
            "sigma": floats(signals, "sigma"),
            "expected_edge_bps": floats(signals, "expected_edge_bps"),
            "votes": _votes(signals),
            "status": [signal.status for signal in signals],
            "entry_price": floats(signals, "entry_price"),
            "stop": floats(signals, "stop"),
            "take": floats(signals, "take"),
            "closed_at": _unless(0, [signal.closed_ms or 0 for signal in signals]),
            "exit_price": floats(signals, "exit_price"),
            "realized_return": floats(signals, "realized_return"),
        },
    )


def label_rows(batch: LabelBatch, ids: Ints) -> Rows:
    """Rows of `ml_labels`; a void label keeps its times and loses its values."""
    void = np.isnan(batch.log_return) & (batch.known_ms > 0)
    unknown = np.isnan(batch.outcome)
    outcome = np.ma.masked_array(np.nan_to_num(batch.outcome).astype(np.int64), unknown)
    return Rows(
        ml_labels,
        len(batch),
        {
            "instrument_id": ids,
            "timeframe": batch.timeframe.value,
            "label_set": LABEL_SET,
            "horizon": batch.horizon,
            "as_of": batch.as_of_ms,
            "revision": batch.revision,
            "direction_known_at": _unless(0, batch.direction_known_ms),
            "known_at": _unless(0, batch.known_ms),
            "outcome": outcome,
            "weight": batch.weight,
            "log_return": batch.log_return,
            "realized_volatility": batch.realized_volatility,
            "uniqueness": batch.uniqueness,
            "void": void,
        },
    )


def outcome_rows(batch: OutcomeBatch, ids: Ints) -> Rows:
    """Rows of `ml_prediction_outcomes`."""
    losses = dict(zip(LOSSES, batch.losses.T, strict=True))
    return Rows(
        ml_prediction_outcomes,
        len(batch),
        {
            "instrument_id": ids,
            "timeframe": batch.timeframe.value,
            "horizon": batch.horizon,
            "as_of": batch.as_of_ms,
            "revision": batch.revision,
            "role": batch.role.value,
            "model": batch.model,
            "version": batch.version,
            "origin": batch.origin.value,
            "scored_at": batch.scored_at,
            **losses,
        },
    )


def skill_rows(verdicts: Sequence[Skill]) -> Rows:
    """Rows of `skill_verdicts`; of two with the same key the later one."""
    last = {(one.exchange, one.timeframe, one.horizon, one.target, one.at): one for one in verdicts}
    found = list(last.values())
    return Rows(
        skill_verdicts,
        len(found),
        {
            "exchange": [one.exchange for one in found],
            "timeframe": [one.timeframe.value for one in found],
            "horizon": ints([one.horizon for one in found]),
            "target": [one.target.value for one in found],
            "at": ints([to_ms(one.at) for one in found]),
            "baseline": [one.baseline for one in found],
            **{name: floats(found, name) for name in ("skill", "low", "high")},
            "blocks": ints([one.blocks for one in found]),
            "count": ints([one.count for one in found]),
            "no_skill": np.array([one.no_skill for one in found]),
        },
    )


def _distances(batch: PredictionBatch) -> Floats:
    """Its dissimilarity, shape (n,); NaN where nobody was fitted, whose rows join the others'."""
    return np.full(len(batch), np.nan) if batch.dissimilarity is None else batch.dissimilarity


def ints(values: Sequence[int]) -> Ints:
    """A column of whole numbers, shape (n,)."""
    return np.array(values, dtype=np.int64)


def _unless(absent: int, values: Ints | list[int]) -> Any:  # noqa: ANN401 - numpy.ma has no precise type
    return np.ma.masked_equal(np.asarray(values, dtype=np.int64), absent)


def _votes(signals: tuple[Signal, ...]) -> list[bytes | None] | None:
    spelt = [spelled_votes(signal) for signal in signals]
    return spelt if any(one is not None for one in spelt) else None
