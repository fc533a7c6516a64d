"""Rows of what is watched, as models."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from backend.api.schemas import Row

Standing = Literal["joining", "watched", "left"]


class SeriesRow(Row):
    """The candles of an instrument and timeframe."""

    timeframe: str
    begin: datetime | None = Field(alias="from", description="open time of the first; null: none")
    to: datetime | None = Field(description="close of the newest")


class SymbolRow(Row):
    """An instrument that is or was watched, with its candles."""

    exchange: str
    symbol: str = Field(description="in ccxt's spelling")
    kind: str = Field(description="`spot` or `swap`")
    base: str
    quote: str
    tick_size: float | None = Field(description="of prices; null: the exchange does not say")
    lot_size: float | None = Field(description="of amounts, in the base currency")
    min_notional: float | None = Field(description="in the quote currency")
    watched_from: datetime
    watched_until: datetime | None
    state: Standing
    timeframes: list[SeriesRow]


class ExchangeRow(Row):
    """An exchange of which something is or was watched."""

    exchange: str
    kinds: list[str] = Field(description="of instruments: `spot`, `swap`")
    instruments: int = Field(description="that are watched now")
    timeframes: list[str]
    watched_from: datetime
    watched_until: datetime | None = Field(description="null: something of it is watched")
    away: str | None = Field(description="why nothing comes from it now; else null")


class TimeframeRow(Row):
    """A timeframe of which there are candles, or that is watched."""

    timeframe: str
    seconds: int
    watched: bool
    horizons: list[int] = Field(description="that are predicted, in candles")
    exchanges: list[str]
    instruments: int = Field(description="that have candles of it")
    begin: datetime | None = Field(alias="from", description="open time of the first; null: none")
    to: datetime | None = Field(description="close of the newest")
