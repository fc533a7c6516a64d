"""What the system says of itself, as models."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from backend.api.schemas import Row


class Alive(Row):
    """The process answers."""

    status: Literal["ok"]


class Ready(Row):
    """Every watched instrument that the caller sees has a fresh prediction."""

    status: Literal["ready"]
    prediction_age_seconds: float | None = Field(
        description="wall seconds since the close of the oldest newest prediction; null: none seen"
    )
    troubles: list[str] = Field(
        description="a line each, none of them grave; for callers who see all instruments"
    )


class ProgressRow(Row):
    """How far one piece of the start has come."""

    name: str
    done: int
    total: int = Field(description="0: not known")


class WatchedRow(Row):
    """An instrument that is watched."""

    exchange: str
    symbol: str = Field(description="in ccxt's spelling")


class SourceStateRow(Row):
    """How a source is doing."""

    source: str
    state: Literal["ok", "stale", "down", "off"]
    since: datetime
    reason: str


class TroubleRow(Row):
    """Something that the system lacks, work that fails, or a row that is not as it was written."""

    about: Literal["database", "broker", "clock", "background", "record"]
    since: datetime = Field(description="by the machine's clock")
    reason: str
    grave: bool = Field(description="whether nobody is to rely on the system meanwhile")


class FreshnessRow(WatchedRow):
    """How old the newest prediction of a series is."""

    timeframe: str
    as_of: datetime
    age_seconds: float = Field(description="wall seconds since the close that it is of")
    stale: bool


class StatusRow(Row):
    """What is watched, what still loads, how fresh it is."""

    version: str
    market: Literal["simulated", "recorded", "live"]
    speed: float = Field(description="market seconds per wall second")
    now: datetime = Field(description="by the market's clock")
    ready: bool = Field(description="every watched instrument has had a prediction")
    fresh: bool = Field(description="and none is older than it may be")
    progress: list[ProgressRow]
    notes: list[str] = Field(description="in words; for callers who see all instruments")
    troubles: list[TroubleRow] = Field(description="now; for callers who see all instruments")
    timeframes: list[str]
    horizons: list[int] = Field(description="in candles")
    feature_sets: list[str] = Field(
        description="that candles are made into; what serves learns from the first"
    )
    instruments: list[WatchedRow]
    sources: list[SourceStateRow]
    freshness: list[FreshnessRow]
    store: bool = Field(description="whether the database is open")
    settings: dict[str, Any] = Field(description="that the page shows")


class PanelRow(Row):
    """A panel of the dashboard as it was last computed."""

    panel: str
    scope: str
    as_of: datetime
    version: int = Field(description="raised each time that the panel is computed")
    payload: Any = Field(description="what `backend/store/panels.py` says of it")


class RolledBackRow(Row):
    """A version that lost its place, and the one that has it now."""

    exchange: str
    timeframe: str
    horizon: int = Field(description="in candles")
    model: str
    version: int
    previous: int | None = Field(description="null: nobody is left")
