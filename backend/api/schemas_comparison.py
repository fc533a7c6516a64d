"""What `/v1/models/compare` answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from backend.api.schemas import Row


class BesideRow(Row):
    """Mean losses of two on the same rows; `difference` is a − b, its interval by blocks."""

    count: int = Field(description="rows")
    n_blocks: int
    a: float | None
    b: float | None
    difference: float | None
    interval95: list[float] | None = Field(description="null: fewer than two blocks")


class SliceRow(BesideRow):
    """The same for some of the rows."""

    name: str | int


class BlockRow(Row):
    """Mean losses of a block of twice the horizon."""

    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")
    a: float
    b: float


class ComparedDecision(Row):
    """A decision that named one of them."""

    decided_at: datetime
    name: str
    champion_version: int | None
    challenger_version: int | None
    verdict: str
    trigger: str
    words: str | None
    evidence: dict[str, Any]


class Slices(Row):
    """By instrument, tercile of the served volatility (low to high), hour of the day (UTC)."""

    instrument: list[SliceRow]
    volatility: list[SliceRow]
    hour: list[SliceRow]


class ComparisonRow(Row):
    """Two forecasters on the rows that both were scored on."""

    a: str
    b: str
    target: str
    loss_name: str
    losses: BesideRow
    blocks: list[BlockRow]
    slices: Slices
    decisions: list[ComparedDecision]
