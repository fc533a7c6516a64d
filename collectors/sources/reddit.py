"""Reddit: the newest posts of some communities, for those who have an application's key.

Its API is asked directly: asyncpraw repeats requests by itself, which a breaker is for, and does
not hand over the bytes of an answer that cannot be read.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import aiohttp
from pydantic import BaseModel, Field, SecretStr

from collectors.pacing import retry_after
from collectors.sources.payloads import (
    LATEST_S,
    LONGEST_BODY,
    LONGEST_TITLE,
    LONGEST_URL,
    Count,
    Number,
    SomeWords,
    UnreadableError,
    Whole,
    Words,
    dated,
    document,
    key,
    rows,
    told_once,
)
from collectors.sources.web import OK, TIMEOUT, Address, WebSource
from domain.errors import SourceUnavailableError
from domain.ports import Clock
from domain.sources import Answer, TextItem, TextKind

NAME: Final = "reddit"
TOKEN_URL: Final = "https://www.reddit.com/api/v1/access_token"  # noqa: S105 - an address
API_URL: Final = "https://oauth.reddit.com"
COMMUNITIES: Final = ("CryptoCurrency", "Bitcoin", "ethereum", "CryptoMarkets")
POSTS: Final = 100  # of an answer; it has no more
SPARE: Final = timedelta(minutes=5)  # a token is renewed so long before it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class RedditKey:
    """Of a «script» application; Reddit wants to know whose it is."""

    client_id: str
    client_secret: SecretStr
    username: str

    @property
    def agent(self) -> str:
        return f"python:alphapulse:0.1 (by /u/{self.username})"


class _Token(BaseModel):
    access_token: SomeWords
    expires_in: Annotated[Whole, Field(ge=0, le=LATEST_S)]


class _Post(BaseModel):
    id: SomeWords
    title: SomeWords
    created_utc: Annotated[Number, Field(ge=0, le=LATEST_S)]
    selftext: Words = ""
    permalink: Words = ""
    score: Whole = 0
    num_comments: Count = 0
    removed_by_category: Words | None = None


class _Child(BaseModel):
    data: _Post


class _Children(BaseModel):
    children: list[Any]


class _Listing(BaseModel):
    data: _Children


def reddit(
    session: aiohttp.ClientSession,
    clock: Clock,
    *,
    application: RedditKey,
    communities: Sequence[str] = COMMUNITIES,
    token_url: str = TOKEN_URL,
    api_url: str = API_URL,
) -> WebSource:
    """The source."""
    address = Address(
        source=NAME,
        url=f"{api_url}/r/{'+'.join(communities)}/new",
        parameters={"limit": str(POSTS), "raw_json": "1"},
        headers={"User-Agent": application.agent},
        every=timedelta(minutes=2),
        stale_after=timedelta(hours=3),
        secrets=(application.client_secret.get_secret_value(),),
    )
    authority = _Authority(application, token_url, session, clock)
    return WebSource(address, parse, session=session, clock=clock, authority=authority)


class _Authority:
    """The token of an application (RFC 6749, 4.4), kept until it ends or is refused."""

    def __init__(
        self, application: RedditKey, url: str, session: aiohttp.ClientSession, clock: Clock
    ) -> None:
        self._application = application
        self._url = url
        self._session = session
        self._clock = clock
        self._token: tuple[str, datetime] | None = None

    async def headers(self) -> Mapping[str, str]:
        if self._token is None or self._clock.now() >= self._token[1]:
            self._token = await self._ask()
        return {"Authorization": f"bearer {self._token[0]}"}

    def refused(self) -> None:
        self._token = None

    async def _ask(self) -> tuple[str, datetime]:
        secret = self._application.client_secret.get_secret_value()
        who = b64encode(f"{self._application.client_id}:{secret}".encode()).decode()
        async with self._session.post(
            self._url,
            data={"grant_type": "client_credentials"},
            headers={"User-Agent": self._application.agent, "Authorization": f"Basic {who}"},
            timeout=TIMEOUT,
            allow_redirects=False,
        ) as response:
            if response.status != OK:
                raise SourceUnavailableError(
                    f"{NAME}: no token, HTTP {response.status}",
                    retry_after(response.headers.get("Retry-After", ""), self._clock.now()),
                )
            try:
                token = document(_Token, await response.read())
            except UnreadableError as error:
                raise SourceUnavailableError(f"{NAME}: no token, {error}") from None
        ends_at = self._clock.now() + timedelta(seconds=min(token.expires_in, 86_400)) - SPARE
        return token.access_token, ends_at


def parse(body: bytes, known_ms: int) -> Answer:
    """The posts of a listing; those that moderators removed are left out.

    Raises:
        UnreadableError: it is none.
    """
    children, refused = rows(_Child, document(_Listing, body).data.children, NAME)
    posts = [child.data for child in children if child.data.removed_by_category is None]
    return told_once((_item(post, known_ms) for post in posts), refused, NAME)


def _item(post: _Post, known_ms: int) -> TextItem:
    published_ms, dating = dated(round(post.created_utc * 1000), known_ms)
    return TextItem(
        source=NAME,
        item_id=key(post.id),
        published_ms=published_ms,
        known_ms=known_ms,
        title=post.title[:LONGEST_TITLE],
        body=post.selftext[:LONGEST_BODY],
        url=f"https://www.reddit.com{post.permalink}"[:LONGEST_URL] if post.permalink else "",
        kind=TextKind.SOCIAL,
        dating=dating,
        engagement=float(max(post.score, 0) + post.num_comments),
    )
