"""A source: notices of an exchange, as a list in JSON."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from collectors.sources.kinds import SourceKind
from collectors.sources.payloads import Seconds, distinct, document, rows
from domain.sources import Answer, Dating, TextItem

NAME: Final = "notices"
EXAMPLE: Final = b"""{"notices": [
  {"id": "n-2", "at": 1735732800, "title": "Maintenance of the matching engine is over"},
  {"id": "n-1", "at": 1735725600, "title": "Withdrawals of XRP are paused"}
]}"""


class _Notice(BaseModel):
    id: Annotated[str, Field(min_length=1)]
    at: Seconds
    title: Annotated[str, Field(min_length=1)]


class _Page(BaseModel):
    notices: list[Any]


def parse(body: bytes, known_ms: int) -> Answer:
    """The notices of a page.

    Raises:
        UnreadableError: it is none.
    """
    read, refused = rows(_Notice, document(_Page, body).notices, NAME)
    told, contradicting = distinct((_item(one, known_ms) for one in read), _identity, NAME)
    return Answer(items=told, refused=(*refused, *contradicting))


def _item(notice: _Notice, known_ms: int) -> TextItem:
    published_ms = notice.at * 1000
    return TextItem(
        source=NAME,
        item_id=notice.id,
        published_ms=min(published_ms, known_ms),
        known_ms=known_ms,
        title=notice.title,
        dating=Dating.TOLD if published_ms <= known_ms else Dating.CLAMPED,
    )


def _identity(item: TextItem) -> str:
    return item.item_id


NOTICES: Final = SourceKind(
    name=NAME,
    url="https://exchange.example/api/notices",
    parse=parse,
    example=EXAMPLE,
    every=timedelta(minutes=10),
    stale_after=timedelta(days=7),
)
