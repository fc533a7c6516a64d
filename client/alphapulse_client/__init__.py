"""Follows and reads an AlphaPulse server: nothing twice, nothing left out, nothing unproven."""

from __future__ import annotations

from alphapulse_client.backoff import Backoff
from alphapulse_client.client import Client
from alphapulse_client.errors import (
    ChainBrokenError,
    ClientError,
    HistoryLostError,
    PositionsError,
    ProblemError,
    ProtocolError,
    StoppedError,
    UnreachableError,
)
from alphapulse_client.events import Position, Snapshot, Update
from alphapulse_client.feed import Feed
from alphapulse_client.join import join_predictions
from alphapulse_client.positions import FilePositions, MemoryPositions, Positions
from alphapulse_client.progress import Head
from alphapulse_client.rows import CandleRow, FeatureRow, GapRow, PredictionRow, SignalRow
from alphapulse_client.told import Candle, GapChange, ModelChange, Prediction, Signal

__all__ = [
    "Backoff",
    "Candle",
    "CandleRow",
    "ChainBrokenError",
    "Client",
    "ClientError",
    "FeatureRow",
    "Feed",
    "FilePositions",
    "GapChange",
    "GapRow",
    "Head",
    "HistoryLostError",
    "MemoryPositions",
    "ModelChange",
    "Position",
    "Positions",
    "PositionsError",
    "Prediction",
    "PredictionRow",
    "ProblemError",
    "ProtocolError",
    "Signal",
    "SignalRow",
    "Snapshot",
    "StoppedError",
    "UnreachableError",
    "Update",
    "join_predictions",
]
