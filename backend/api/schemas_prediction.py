"""What `/v1/predictions/ID` answers."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from backend.api.schemas import PredictionRow, Row


class Published(Row):
    """The event that told of a row."""

    stream: str
    epoch: str
    offset: int
    ts: datetime = Field(description="when the commit of the event began")
    hash: str = Field(description="of the event, in the chain of its stream")


class Label(Row):
    """What happened, as it stood when it was first known."""

    label_set: str = Field(description="`name@version`")
    revision: int
    outcome: int | None = Field(description="−1, 0, 1: the barrier that was touched first")
    log_return: float | None = Field(description="from the close at `as_of` to the horizon's")
    realized_volatility: float | None
    void: bool = Field(description="candles are missing: nothing is scored")
    direction_known_at: datetime | None
    known_at: datetime


class Losses(Row):
    """What the row lost by its label; null where its forecaster abstained."""

    scored_at: datetime
    log_loss: float | None
    brier: float | None
    pinball: float | None
    qlike: float | None
    covered: float | None = Field(description="1: the return lay between `q10` and `q90`")


class PredictionRecord(Row):
    """A served prediction, and all that it can be held to."""

    id: str
    prediction: PredictionRow
    feature_set: str = Field(description="`name@version`")
    feature_revision: int = Field(description="of the feature row that was read")
    published: Published | None = Field(description="null: it was told in no stream")
    label: Label | None = Field(description="null: not known yet")
    score: Losses | None = Field(description="null: not scored, or not yet")
