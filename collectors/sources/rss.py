"""News feeds, RSS and Atom."""

from __future__ import annotations

import calendar
import io
from collections.abc import Mapping
from datetime import MAXYEAR, MINYEAR, timedelta
from functools import partial
from time import struct_time
from typing import Any, Final

import aiohttp
import feedparser

from collectors.sources.feeds import DAY, FEEDS
from collectors.sources.payloads import (
    LONGEST_BODY,
    LONGEST_TITLE,
    LONGEST_URL,
    UnreadableError,
    clean,
    dated,
    key,
    refusal,
    spelled,
    told_once,
)
from collectors.sources.web import Address, WebSource
from domain.ports import Clock
from domain.sources import Answer, Refused, TextItem

LARGEST: Final = 2 * 2**20  # bytes; feeds have some 100 kB, and the parser takes its time


def news(
    name: str, session: aiohttp.ClientSession, clock: Clock, *, url: str | None = None
) -> WebSource:
    """One feed; `url` is needed for a name that is not in `FEEDS`."""
    known, stale_after = FEEDS.get(name, ("", DAY))
    address = Address(
        source=name,
        url=url or known,
        every=timedelta(minutes=3),
        stale_after=stale_after,
        pause=timedelta(seconds=30),
        largest=LARGEST,
    )
    return WebSource(address, partial(parse, name), session=session, clock=clock)


def parse(source: str, body: bytes, known_ms: int) -> Answer:
    """The entries of a feed.

    Raises:
        UnreadableError: it is none.
    """
    told: list[TextItem] = []
    refused: list[Refused] = []
    for entry in _entries(body):
        item = _item(source, entry, known_ms)
        if item is None:
            refused.append(refusal(source, "an entry without title or identity", spelled(entry)))
        else:
            told.append(item)
    return told_once(told, refused, source)


def _entries(body: bytes) -> list[Mapping[str, Any]]:
    # Bytes of their own would be taken for the name of a file or for an address to fetch.
    stream = io.BytesIO(body)
    try:
        feed = feedparser.parse(stream, sanitize_html=False, resolve_relative_uris=False)
    except Exception as error:  # whatever it stumbles over: it has no error of its own
        raise UnreadableError(f"not a feed: {type(error).__name__}") from error
    if not feed.get("version"):
        raise UnreadableError("not a feed")
    if feed.get("bozo") and not feed.entries:
        raise UnreadableError(f"not a feed: {type(feed.get('bozo_exception')).__name__}")
    return [dict(entry) for entry in feed.entries]  # whose own `get` guesses


def _item(source: str, entry: Mapping[str, Any], known_ms: int) -> TextItem | None:
    title = _text(entry, "title", LONGEST_TITLE)
    url = _text(entry, "link", LONGEST_URL)
    identity = _text(entry, "id", LONGEST_URL) or url
    if not title or not identity:
        return None
    published_ms, dating = dated(_moment(entry), known_ms)
    return TextItem(
        source=source,
        item_id=key(identity),
        published_ms=published_ms,
        known_ms=known_ms,
        title=title,
        body=_text(entry, "summary", LONGEST_BODY),
        url=url,
        dating=dating,
    )


def _text(entry: Mapping[str, Any], name: str, longest: int) -> str:
    value = entry.get(name)
    return clean(value, longest) if isinstance(value, str) else ""


def _moment(entry: Mapping[str, Any]) -> int | None:
    """Of its publication, else of its last change."""
    for name in ("published_parsed", "updated_parsed"):
        parsed = entry.get(name)
        if isinstance(parsed, struct_time) and MINYEAR <= parsed.tm_year <= MAXYEAR:
            return calendar.timegm(parsed) * 1000
    return None
