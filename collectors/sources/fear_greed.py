"""The Fear & Greed index of alternative.me: one number a day for the whole market."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

import aiohttp
from pydantic import BaseModel, Field

from collectors.sources.payloads import (
    Seconds,
    UnreadableError,
    Whole,
    distinct,
    document,
    rows,
)
from collectors.sources.web import Address, WebSource
from domain.ports import Clock
from domain.sources import MARKET, Answer, Measurement, Metric

NAME: Final = "fear_greed"
URL: Final = "https://api.alternative.me/fng/"
DAYS: Final = 30  # that are asked for, so that a month without us leaves no hole


class _Day(BaseModel):
    value: Annotated[Whole, Field(ge=0, le=100)]
    timestamp: Seconds  # 00:00 UTC of its day


class _Metadata(BaseModel):
    error: str | None = None


class _Index(BaseModel):
    data: Annotated[list[Any], Field(min_length=1)]  # newest first
    metadata: _Metadata = _Metadata()


def fear_greed(session: aiohttp.ClientSession, clock: Clock, *, url: str = URL) -> WebSource:
    """The source; alternative.me asks to be named where its index is shown."""
    address = Address(
        source=NAME,
        url=url,
        parameters={"limit": str(DAYS), "format": "json"},
        every=timedelta(minutes=15),
        stale_after=timedelta(hours=48),
    )
    return WebSource(address, parse, session=session, clock=clock)


def parse(body: bytes, known_ms: int) -> Answer:
    """The days of an answer.

    Raises:
        UnreadableError: it is none.
    """
    index = document(_Index, body)
    if index.metadata.error is not None:
        raise UnreadableError("the answer is an error")
    days, refused = rows(_Day, index.data, NAME)
    measured, contradicting = distinct(
        (
            Measurement(
                instrument=MARKET,
                metric=Metric.FEAR_GREED,
                event_ms=min(day.timestamp * 1000, known_ms),
                known_ms=known_ms,
                value=float(day.value),
            )
            for day in days
        ),
        lambda one: one.event_ms,
        NAME,
    )
    return Answer(measurements=measured, refused=(*refused, *contradicting))
