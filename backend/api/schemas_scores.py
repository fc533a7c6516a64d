"""What is answered of how forecasters did, day by day and by what they said."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from backend.api.schemas import Row


class DayRow(Row):
    """A forecaster's losses on a day, beside its baseline's on the same rows."""

    exchange: str
    timeframe: str
    horizon: int
    role: str
    model: str
    origin: str
    target: str
    loss_name: str
    day: datetime
    count: int
    effective_count: float = Field(description="allowing for labels that overlap")
    loss: float = Field(description="mean")
    baseline: str
    baseline_loss: float


class CalibrationRow(Row):
    """What was said of a class within a tenth of all chances, and how often it came."""

    exchange: str
    timeframe: str
    horizon: int
    model: str = Field(description="`served`, or `pool.direction`, whether it was served or not")
    class_: Literal["down", "flat", "up"] = Field(alias="class")
    bin: int = Field(description="0: chances below 0.1, … 9: from 0.9")
    count: int = Field(description="rows")
    said: float = Field(description="mean chance")
    happened: float = Field(description="share of the rows in which the class came")


class WeightRow(Row):
    """What part a member has now in its pool."""

    exchange: str
    timeframe: str
    horizon: int
    target: str
    model: str
    weight: float = Field(description="of a pool they sum to 1")
