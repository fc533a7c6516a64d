"""CryptoPanic: news with the votes of its readers, for those who have a key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import nan
from typing import Any, Final

import aiohttp
from pydantic import BaseModel, SecretStr

from collectors.sources.payloads import (
    LONGEST_BODY,
    LONGEST_TITLE,
    LONGEST_URL,
    Count,
    SomeWords,
    Whole,
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

NAME: Final = "cryptopanic"
URL: Final = "https://cryptopanic.com/api/developer/v2/posts/"


class _Votes(BaseModel):
    positive: Count = 0
    negative: Count = 0
    important: Count = 0
    liked: Count = 0
    disliked: Count = 0
    lol: Count = 0
    toxic: Count = 0
    saved: Count = 0
    comments: Count = 0


class _Post(BaseModel):
    id: Whole
    title: SomeWords
    published_at: Words | None = None
    description: Words | None = None
    url: Words | None = None
    votes: _Votes | None = None


class _Posts(BaseModel):
    results: list[Any]


def cryptopanic(
    session: aiohttp.ClientSession, clock: Clock, *, token: SecretStr, url: str = URL
) -> WebSource:
    """The source; its key travels in the query, so that it is masked wherever it comes back."""
    secret = token.get_secret_value()
    address = Address(
        source=NAME,
        url=url,
        parameters={"auth_token": secret, "public": "true", "kind": "news"},
        every=timedelta(minutes=5),
        stale_after=timedelta(hours=12),
        secrets=(secret,),
    )
    return WebSource(address, parse, session=session, clock=clock)


def parse(body: bytes, known_ms: int) -> Answer:
    """The posts of an answer.

    Raises:
        UnreadableError: it is none.
    """
    posts, refused = rows(_Post, document(_Posts, body).results, NAME)
    return told_once((_item(post, known_ms) for post in posts), refused, NAME)


def _item(post: _Post, known_ms: int) -> TextItem:
    published_ms, dating = dated(_moment(post.published_at), known_ms)
    return TextItem(
        source=NAME,
        item_id=key(str(post.id)),
        published_ms=published_ms,
        known_ms=known_ms,
        title=post.title[:LONGEST_TITLE],
        body=(post.description or "")[:LONGEST_BODY],
        url=(post.url or "")[:LONGEST_URL],
        dating=dating,
        engagement=nan if post.votes is None else float(sum(post.votes.model_dump().values())),
    )


def _moment(told: str | None) -> int | None:
    try:
        moment = datetime.fromisoformat(told or "")
    except ValueError:
        return None
    return to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
