"""GDELT DOC 2.0: articles of the world's news sites that match a query."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from pydantic import BaseModel

from collectors.sources.payloads import (
    LONGEST_TITLE,
    LONGEST_URL,
    SomeWords,
    Words,
    dated,
    document,
    key,
    rows,
    told_once,
)
from collectors.sources.web import Address, WebSource
from domain.market import to_ms
from domain.ports import Clock
from domain.sources import Answer, TextItem

NAME: Final = "gdelt"
URL: Final = "https://api.gdeltproject.org/api/v2/doc/doc"
QUERY: Final = "(bitcoin OR ethereum OR cryptocurrency) sourcelang:english"
MOST: Final = 250  # articles of an answer; it has no more
SPAN: Final = "2h"  # eight updates of GDELT, so that one that fails loses nothing
PAUSE: Final = timedelta(seconds=6)  # GDELT asks for one request in 5 s
SEEN: Final = "%Y%m%dT%H%M%SZ"


class _Article(BaseModel):
    url: SomeWords
    title: SomeWords
    seendate: Words


class _Articles(BaseModel):
    articles: list[Any] = []


def gdelt(
    session: aiohttp.ClientSession, clock: Clock, *, url: str = URL, query: str = QUERY
) -> WebSource:
    """The source; its times are those at which GDELT first saw an article."""
    address = Address(
        source=NAME,
        url=url,
        parameters={
            "query": query,
            "mode": "artlist",
            "format": "json",
            "sort": "datedesc",
            "maxrecords": str(MOST),
            "timespan": SPAN,
        },
        every=timedelta(minutes=15),
        stale_after=timedelta(hours=6),
        pause=PAUSE,
    )
    return WebSource(address, parse, session=session, clock=clock)


def parse(body: bytes, known_ms: int) -> Answer:
    """The articles of an answer.

    Raises:
        UnreadableError: it is none; GDELT says in plain text what it does not like.
    """
    told = document(_Articles, body)
    articles, refused = rows(_Article, told.articles, NAME)
    return told_once((_item(article, known_ms) for article in articles), refused, NAME)


def _item(article: _Article, known_ms: int) -> TextItem:
    published_ms, dating = dated(_moment(article.seendate), known_ms)
    return TextItem(
        source=NAME,
        item_id=key(article.url),
        published_ms=published_ms,
        known_ms=known_ms,
        title=article.title[:LONGEST_TITLE],
        url=article.url[:LONGEST_URL],
        dating=dating,
    )


def _moment(seen: str) -> int | None:
    try:
        return to_ms(datetime.strptime(seen, SEEN).replace(tzinfo=UTC))
    except ValueError:
        return None
