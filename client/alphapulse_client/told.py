"""Rows as events of streams tell them, each with its event."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from alphapulse_client.errors import ProtocolError
from alphapulse_client.events import Snapshot, Update
from alphapulse_client.rows import CandleRow, GapRow, PredictionRow, SignalRow, row_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle(CandleRow):
    """A closed candle, or a later revision of it, and the event that told it."""

    update: Update = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(PredictionRow):
    """A served prediction, and the event that told it."""

    update: Update = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(SignalRow):
    """A signal; `update.event` says whether it was opened, updated or closed."""

    update: Update = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapChange(GapRow):
    """A stretch of missing candles; `update.event` says what became of it."""

    update: Update = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
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
    update: Update = field(repr=False)


T = TypeVar("T", Candle, GapChange, ModelChange, Prediction, Signal)


def told_as(kind: type[T], told: Update | Snapshot) -> T:
    """The row of an event; what a later server says beside is in `update.data`.

    Raises:
        ProtocolError: a field is missing.
    """
    if isinstance(told, Snapshot):
        raise ProtocolError(f"{told.stream}: a snapshot that was not asked for")
    return row_of(kind, told.data, update=told)
