"""Rows as REST lists them: objects with the fields of the interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from alphapulse_client.errors import ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleRow:
    """A closed candle; `revision` above 1: a correction of it."""

    exchange: str
    symbol: str
    timeframe: str
    open_time: datetime
    close_time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    revision: int
    source: str
    known_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRow:
    """The features of a close by name; None is a value that was not known yet."""

    exchange: str
    symbol: str
    timeframe: str
    feature_set: str
    as_of: datetime
    revision: int
    known_at: datetime
    candle_revision: int
    coverage: float
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """A served prediction; all numbers of a target are None where its forecaster abstained."""

    exchange: str
    symbol: str
    timeframe: str
    horizon: int
    as_of: datetime
    revision: int
    made_at: datetime
    origin: str
    role: str
    target: str
    model: str
    version: str
    members: Mapping[str, Any] | None
    p_down: float | None
    p_flat: float | None
    p_up: float | None
    q10: float | None
    q50: float | None
    q90: float | None
    volatility: float | None
    degraded: list[str]
    dissimilarity: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """A signal, in its newest state."""

    exchange: str
    symbol: str
    timeframe: str
    horizon: int
    as_of: datetime
    revision: int
    side: str
    strength: float
    gate: str
    size_fraction: float
    entry_price: float | None
    stop: float | None
    take: float | None
    expires_at: datetime
    status: str
    closed_at: datetime | None
    exit_price: float | None
    realized_return: float | None
    model: str
    version: str
    expected_edge_bps: float | None
    votes: Mapping[str, float | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """A stretch of missing candles, from the open time of the first to that behind the last."""

    exchange: str
    symbol: str
    timeframe: str
    from_: datetime
    to: datetime
    cause: str
    state: str
    detected_at: datetime
    filled_at: datetime | None
    attempts: int


R = TypeVar("R")


def row_of(kind: type[R], said: Mapping[str, Any], **more: object) -> R:
    """A row as an object; what a later server says beside is left out.

    Args:
        kind: a dataclass; a field that is a word of Python has a `_` at its end.
        said: its members, times as datetimes.
        **more: fields that are not of the row.

    Raises:
        ProtocolError: a field is missing.
    """
    try:
        row = {
            each.name: said[each.name.rstrip("_")]
            for each in fields(kind)  # type: ignore[arg-type]  # every kind is a dataclass
            if each.name not in more
        }
    except KeyError as error:
        raise ProtocolError(f"a row without {error}") from error
    return kind(**row, **more)
