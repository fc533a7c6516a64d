"""Rows as users see them: the JSON of the streams and of REST, field by field.

Floats are JSON numbers in their shortest round trip; what is not known is null; times are
RFC 3339 with milliseconds. `degraded` is a list of codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from backend.store.stream_log import Drafts
from collectors.ledger import Entry
from domain.events import CandleBatch, Floats, ModelEvent, PredictionBatch, Signal, SignalBatch
from domain.market import Instrument, Timeframe, from_ms, rfc3339

GAPS_STREAM = "gaps"
MODELS_STREAM = "models"


def stream_name(channel: str, timeframe: Timeframe, instrument: Instrument) -> str:
    """The stream of one instrument.

    >>> stream_name("signals", Timeframe.H1, Instrument("binance", "BTC/USDT"))
    'signals.1h.binance.BTC/USDT'
    """
    return stream_names(channel, timeframe, [instrument])[0]


def stream_names(
    channel: str, timeframe: Timeframe, instruments: Iterable[Instrument]
) -> list[str]:
    """The streams of instruments, in their order."""
    prefix = f"{channel}.{timeframe}"
    return [f"{prefix}.{one.exchange}.{one.symbol}" for one in instruments]


def gap_payload(instrument: Instrument, timeframe: Timeframe, entry: Entry) -> dict[str, Any]:
    """A hole as the gap ledger has it."""
    filled_ms = entry.filled_ms
    return {
        "exchange": instrument.exchange,
        "symbol": instrument.symbol,
        "timeframe": timeframe.value,
        "from": rfc3339(from_ms(entry.span.from_ms)),
        "to": rfc3339(from_ms(entry.span.to_ms)),
        "cause": entry.cause.value,
        "state": entry.state.value,
        "detected_at": rfc3339(from_ms(entry.detected_ms)),
        "filled_at": None if filled_ms is None else rfc3339(from_ms(filled_ms)),
        "attempts": entry.attempts,
    }


def candle_drafts(batch: CandleBatch, streams: Sequence[str]) -> Drafts:
    """One event a candle of the batch, in its order."""
    rows = {
        "exchange": batch.exchange,
        "symbol": [one.symbol for one in batch.instruments],
        "timeframe": batch.timeframe,
        "open_time": rfc3339(batch.as_of - batch.timeframe.duration),
        "close_time": rfc3339(batch.as_of),
        "open": batch.open,
        "high": batch.high,
        "low": batch.low,
        "close": batch.close,
        "volume": batch.volume,
        "revision": batch.revision,
        "source": batch.source,
        "known_at": rfc3339(batch.known_at),
    }
    return Drafts("candle", batch.as_of, streams, json_rows(rows, len(batch)))


def prediction_drafts(batch: PredictionBatch, streams: Sequence[str]) -> Drafts:
    """One event a row of the batch, in its order."""
    down, flat, up = batch.probabilities.T
    q10, q50, q90 = batch.quantiles.T
    rows = {
        "exchange": batch.exchange,
        "symbol": [one.symbol for one in batch.instruments],
        "timeframe": batch.timeframe,
        "horizon": batch.horizon,
        "as_of": rfc3339(batch.as_of),
        "revision": batch.revision,
        "made_at": rfc3339(batch.made_at),
        "origin": batch.origin,
        "role": batch.role,
        "target": batch.target,
        "model": batch.model,
        "version": batch.version,
        "members": dict(batch.members),
        "p_down": down,
        "p_flat": flat,
        "p_up": up,
        "q10": q10,
        "q50": q50,
        "q90": q90,
        "volatility": batch.volatility,
        "degraded": [tuple(filter(None, codes.split(","))) for codes in batch.degraded],
        "dissimilarity": batch.dissimilarity,
    }
    return Drafts("prediction", batch.as_of, streams, json_rows(rows, len(batch)))


def signal_drafts(batch: SignalBatch, streams: Sequence[str]) -> Drafts:
    """One event a signal; its name is the batch's: opened, updated or closed."""
    signals = batch.signals
    rows = {
        "exchange": batch.exchange,
        "symbol": [one.instrument.symbol for one in signals],
        "timeframe": batch.timeframe,
        "horizon": np.array([one.horizon for one in signals], dtype=np.int64),
        "as_of": _spell([one.as_of_ms for one in signals]),
        "revision": np.array([one.revision for one in signals], dtype=np.int64),
        "side": [one.side for one in signals],
        "strength": floats(signals, "strength"),
        "gate": [one.gate for one in signals],
        "size_fraction": floats(signals, "size_fraction"),
        "entry_price": floats(signals, "entry_price"),
        "stop": floats(signals, "stop"),
        "take": floats(signals, "take"),
        "expires_at": _spell([one.expires_ms for one in signals]),
        "status": [one.status for one in signals],
        "closed_at": _spell([one.closed_ms for one in signals]),
        "exit_price": floats(signals, "exit_price"),
        "realized_return": floats(signals, "realized_return"),
        "model": [one.model for one in signals],
        "version": [one.version for one in signals],
        "expected_edge_bps": floats(signals, "expected_edge_bps"),
        "votes": [spelled_votes(one) for one in signals],
    }
    return Drafts(batch.event, batch.as_of, streams, json_rows(rows, len(signals)))


def floats(found: Sequence[object], name: str) -> Floats:
    """A field of each, shape (n,); None becomes NaN."""
    return np.array([getattr(one, name) for one in found], dtype=np.float64)


def spelled_votes(signal: Signal) -> bytes | None:
    """The JSON object of what each member said; None where nobody's say counted."""
    return None if signal.votes is None else orjson.dumps(dict(signal.votes))


def model_drafts(event: ModelEvent) -> Drafts:
    """The event of the service stream `models`."""
    row = {
        "exchange": event.exchange,
        "timeframe": event.timeframe,
        "horizon": event.horizon,
        "at": rfc3339(event.at),
        "kind": event.kind,
        "target": event.target,
        "model": event.model,
        "version": event.version,
        "detail": event.detail,
    }
    return Drafts(event.kind, event.at, [MODELS_STREAM], [orjson.dumps(row)])


def json_rows(columns: Mapping[str, Any], count: int) -> list[bytes]:
    """The JSON object of each row, as `orjson.dumps` of its dict.

    Args:
        columns: arrays and lists have one element a row; anything else is the same in all.
            Bytes in a list are JSON already.
        count: how many rows.

    >>> json_rows({"symbol": ["A", "B"], "price": np.array([1.5, np.nan])}, 2)
    [b'{"symbol":"A","price":1.5}', b'{"symbol":"B","price":null}']
    """
    template, varying = [], []
    for name, values in columns.items():
        key = orjson.dumps(name)
        if isinstance(values, np.ndarray | list):
            template.append(key + b":%b")
            varying.append(_tokens(values))
        else:
            template.append(key + b":" + orjson.dumps(values).replace(b"%", b"%%"))
    row = b"{" + b",".join(template) + b"}"
    return [row % values for values in zip(*varying, strict=True)] if count else []


def _tokens(values: Any) -> list[bytes]:  # noqa: ANN401 - an array of numbers, or a list
    if isinstance(values, np.ndarray):
        contiguous = np.ascontiguousarray(values)
        return orjson.dumps(contiguous, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    spelt = {one: one if isinstance(one, bytes) else orjson.dumps(one) for one in set(values)}
    return [spelt[value] for value in values]


def _spell(moments_ms: Sequence[int | None]) -> list[str | None]:
    spelt = {one: None if one is None else rfc3339(from_ms(one)) for one in set(moments_ms)}
    return [spelt[one] for one in moments_ms]
