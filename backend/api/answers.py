"""The one shape of every list: `data`, `meta`, `next`; and the transaction it is read in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from fastapi import Request, Response

from backend.api import rows
from backend.api.coverage import read_coverage
from backend.api.known import refuse_unmatched
from backend.api.parameters import Selection
from backend.api.problems import ProblemError
from backend.api.reads import Page, Span, read_page
from backend.api.shelves import CANDLES, Filters, Shelf
from backend.api.state import ApiState
from domain.market import Timeframe


def state_of(request: Request) -> ApiState:
    """What wiring gave the application."""
    state: ApiState = request.app.state.alphapulse
    return state


@asynccontextmanager
async def reading(state: ApiState) -> AsyncIterator[asyncpg.Connection]:
    """A connection in one read-only transaction, so that an answer is of one moment.

    Raises:
        ProblemError: `starting`, before the store is there.
    """
    if state.reader is None:
        raise starting(state)
    async with (
        state.reader.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection


def starting(state: ApiState) -> ProblemError:
    """The problem that names what still loads."""
    public = state.status.public(state.clock.now())
    loading = [each["name"] for each in public["progress"] if each["done"] < each["total"]]
    detail = f"still loading: {', '.join(loading)}" if loading else "still starting"
    return ProblemError("starting", detail, progress=public["progress"], retry_after_ms=1_000)


def moment(state: ApiState, as_of: datetime | None) -> datetime:
    """Of which moment an answer is: the one asked for, but none that is yet to come."""
    now = state.clock.now()
    return now if as_of is None else min(as_of, now)


async def answer_page(
    state: ApiState, shelf: Shelf, selection: Selection, filters: Filters
) -> Response:
    """One page of a shelf with its coverage."""
    async with reading(state) as connection:
        await refuse_unmatched(connection, state, filters)
        page = await read_page(connection, shelf, selection, filters)
        coverage = await _coverage(connection, shelf, page)
    revisions = [row["revision"] for row in page.data]
    watermark = page.watermark
    if watermark is not None and shelf is CANDLES:
        watermark = min(_closes(span, span.last) for span in page.spans)
    return await asyncio.to_thread(
        envelope,
        page.data,
        as_of=moment(state, selection.as_of),
        watermark=watermark,
        coverage=coverage,
        revision=max(revisions, default=None),
        following=page.cursor,
    )


async def _coverage(
    connection: asyncpg.Connection, shelf: Shelf, page: Page
) -> dict[str, Any] | None:
    if not page.data:
        return None
    spans: Sequence[Span] = page.spans
    times = [row["close_time" if shelf is CANDLES else "as_of"] for row in page.data]
    if shelf is CANDLES:
        spans = [
            replace(span, first=_closes(span, span.first), last=_closes(span, span.last))
            for span in spans
        ]
    return await read_coverage(connection, spans, min(times), max(times))


def _closes(span: Span, open_time: datetime) -> datetime:
    duration: timedelta = Timeframe(span.timeframe).duration
    return open_time + duration


def envelope(
    data: Sequence[Any],
    *,
    as_of: datetime,
    watermark: datetime | None = None,
    coverage: dict[str, Any] | None = None,
    revision: int | None = None,
    following: str | None = None,
) -> Response:
    """The JSON answer."""
    meta = {"as_of": as_of, "watermark": watermark, "coverage": coverage, "revision": revision}
    return Response(
        rows.dumps({"data": data, "meta": meta, "next": following}), media_type="application/json"
    )
