"""Jobs as they are asked for, and as they are answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.api.parameters import Between
from backend.api.schemas import Row
from domain.market import Timeframe


class RetrainOrder(BaseModel):
    """Where to fit; what is not named is every one."""

    model_config = ConfigDict(extra="forbid")

    exchange: str | None = Field(None, description="exchange id", min_length=1, max_length=64)
    timeframe: Timeframe | None = Field(None, description="`1h`")
    horizon: int | None = Field(None, description="in candles", gt=0, lt=100_000)


class BackfillOrder(Between):
    """Which candles to ask for again: those of a watched instrument that are missing."""

    exchange: str = Field(description="exchange id", min_length=1, max_length=64)
    symbol: str = Field(description="in ccxt's spelling, `BTC/USDT`", min_length=1, max_length=64)
    timeframe: Timeframe | None = Field(None, description="`1h`; without it each that is watched")


class JobRow(Row):
    """A job, and what became of it."""

    id: str
    kind: Literal["retrain", "backfill", "rollback", "add", "remove", "join", "leave"] = Field(
        description="join, leave: what those who collect ask of those who predict"
    )
    request: dict[str, Any] = Field(description="what was asked for")
    caller: str = Field(
        description="id of the key that asked; `loopback`, `command`: the operator;"
        " `collectors of EXCHANGE`: who collects it"
    )
    idempotency_key: str | None
    state: Literal["queued", "running", "done", "failed"]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: dict[str, Any] | None = Field(description="`done` of `total`; null: not begun")
    result: list[dict[str, Any]] | None = Field(
        description="of a retrain what each training made and the first verdict on it, of a"
        " backfill the candles of each timeframe, of a rollback the version before, of others the"
        " state of each instrument; null until it is done"
    )
    detail: str | None = Field(
        description="in words: why it failed or is tried again, what it left out, or for whom or"
        " what it waits"
    )
    attempts: int = Field(
        description="how often it was begun, beside stops in good order; after 3 it has failed"
    )
