"""What of an answer may be kept: validators, ranges that are closed, and what cannot change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import asyncpg

from backend.api.coverage import last_gap_change
from backend.api.reads import Asked, Page, last_change
from backend.api.shelves import PREDICTIONS, Shelf
from domain.events import Role

VARY: Final = "Accept, Authorization"  # what an answer depends on beside its address
ASK: Final = "private, no-cache"  # kept by whoever asked, and shown again once it was asked about
NOT_KEPT: Final = {"Cache-Control": "no-store"}
# Kept unasked. A day, so that nobody waits longer for the columns of a newer release.
FINAL: Final = "private, max-age=86400, immutable"


def validator(body: bytes) -> str:
    """The strong `ETag` of these bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_held(asked: str, etag: str) -> bool:
    """Whether `If-None-Match` names the answer; weakly, as RFC 9110 has it.

    >>> is_held('W/"a", "b"', '"b"'), is_held("*", '"b"'), is_held('"a"', '"b"'), is_held("", '"b"')
    (True, True, False, False)
    """
    held = {each.strip().removeprefix("W/") for each in asked.split(",")}
    return bool(held & {"*", etag})


async def settled_at(
    connection: asyncpg.Connection, shelf: Shelf, selection: Asked, page: Page
) -> datetime | None:
    """Since when a closed range says what it says; None for one that is open.

    A range is closed when every series reaches its end. It is told as of its last change, not as
    of now: the same range is the same bytes until something in it changes.
    """
    end, mark = selection.end, page.watermark
    if selection.as_of is not None or end is None or mark is None or mark < end:
        return None
    changes = (
        await last_change(connection, shelf, page),
        await last_gap_change(connection, page.spans, *page.window),
    )
    return max([end, *(each for each in changes if each is not None)])


def is_final(
    shelf: Shelf, selection: Asked, page: Page, coverage: Mapping[str, Any] | None
) -> bool:
    """Whether no later moment can see other bytes.

    Served predictions of a past point in time that every series has gone beyond: they are only
    added to, each made after all before it were stored. Not so what else is told of a past moment:
    backfilled candles and their features count as known at their close, a candle's source is that
    of its confirmation, members that a kill took are made again as what they were, a signal is
    withdrawn at the last close of its instrument.
    """
    as_of = selection.as_of
    return (
        shelf is PREDICTIONS
        and page.wanted.get("role") == [Role.CHAMPION.value]
        and as_of is not None
        and all(span.newest >= as_of for span in page.spans)
        and (coverage is None or coverage["expected"] == coverage["present"])
        and not (coverage and coverage["gaps"])
    )
