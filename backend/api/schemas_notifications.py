"""A notification as it is listed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from backend.api.schemas import Row


class NotificationRow(Row):
    """What a channel is told, and what became of it. Times are the machine's, `at` the market's."""

    id: str = Field(description="the same at each try; receivers know repetitions by it")
    channel: str
    event: str
    subject: str = Field(description="what it is of; one subject's are delivered in their order")
    at: datetime = Field(description="when it was published")
    state: Literal["pending", "sent", "dead"]
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None = Field(description="null unless it is pending")
    sent_at: datetime | None
    error: str | None = Field(description="why it was not taken, at the last try")
    body: dict[str, Any] = Field(description="what a webhook is sent")
