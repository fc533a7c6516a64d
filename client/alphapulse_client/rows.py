"""Rows of streams as objects with the fields of the interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from alphapulse_client.errors import ProtocolError
from alphapulse_client.events import Snapshot, Update


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A row as an event of a stream tells it.

    Attributes:
        update: the event: its stream, place, kind (`update.event`) and link of the chain.
    """

    update: Update = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle(Told):
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
class Prediction(Told):
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
class Signal(Told):
    """A signal; `update.event` says whether it was opened, updated or closed."""

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
class GapChange(Told):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange(Told):
    """What became of a model."""

    exchange: str
    timeframe: str
    horizon: int
    at: datetime
    kind: str
    target: str
    model: str
    version: str
    detail: str


R = TypeVar("R", bound=Told)


def told_as(kind: type[R], told: Update | Snapshot) -> R:
    """The row of an event; what a later server says beside is in `update.data`.

    Raises:
        ProtocolError: a field is missing.
    """
    if isinstance(told, Snapshot):
        raise ProtocolError(f"{told.stream}: a snapshot that was not asked for")
    try:
        row = {
            each.name: told.data[each.name.rstrip("_")]
            for each in fields(kind)
            if each.name != "update"
        }
    except KeyError as error:
        raise ProtocolError(f"{told.stream}: an event without {error}") from error
    return kind(update=told, **row)
