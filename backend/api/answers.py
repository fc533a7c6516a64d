"""Every list as an answer to a request; and the transaction it is read in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
from fastapi import Request, Response

from backend.api.caching import ASK, FINAL, NOT_KEPT, VARY, is_final, is_held, settled_at, validator
from backend.api.callers import caller_of
from backend.api.coverage import read_coverage
from backend.api.formats import ACCEPTED, JSON, Format, chosen
from backend.api.known import refuse_unmatched
from backend.api.parameters import Selection
from backend.api.problems import ProblemError
from backend.api.reads import Asked, Page, instrument_ids, read_page
from backend.api.shelves import FEATURES, Filters, Shelf
from backend.api.spellings import ListAnswer, enveloped
from backend.api.state import ApiState
from domain.errors import shortened


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
    progress = state.status.loading()
    loading = [each["name"] for each in progress if each["done"] < each["total"]]
    detail = f"still loading: {', '.join(loading)}" if loading else "still starting"
    return ProblemError("starting", detail, progress=progress, retry_after_ms=1_000)


def moment(state: ApiState, as_of: datetime | None) -> datetime:
    """Of which moment an answer is: the one asked for, but none that is yet to come."""
    now = state.clock.now()
    return now if as_of is None else min(as_of, now)


async def answer_page(
    request: Request, shelf: Shelf, selection: Selection, filters: Filters
) -> Response:
    """One page of a shelf with its coverage."""
    state, caller = state_of(request), caller_of(request)
    async with reading(state) as connection:
        await refuse_unmatched(connection, state, filters)
        symbols = selection.wanted_symbols
        ids = await instrument_ids(connection, caller, selection.exchange, symbols)
        told = await list_page(connection, state, ids, shelf, selection, filters)
    return await answer_list(request, selection.format, told)


async def list_page(
    connection: asyncpg.Connection,
    state: ApiState,
    ids: Sequence[int],
    shelf: Shelf,
    selection: Asked,
    filters: Filters,
) -> ListAnswer:
    """One page of a shelf, of the instruments with these numbers."""
    page = await read_page(connection, ids, shelf, selection, filters)
    times = [row[shelf.close or shelf.time] for row in page.data]
    coverage = await read_coverage(connection, page.spans, times, selection.as_of)
    spread = {"values": await _features(connection, page)} if shelf is FEATURES else {}
    settled = await settled_at(connection, shelf, selection, page)
    return ListAnswer(
        data=page.data,
        described=shelf.described,
        as_of=moment(state, selection.as_of or settled),
        watermark=selection.end if settled else page.watermark,
        coverage=coverage,
        revision=max((row["revision"] for row in page.data), default=None),
        following=page.cursor,
        spread=spread,
        final=is_final(shelf, selection, page, coverage),
    )


async def answer_list(request: Request, asked: Format | None, told: ListAnswer) -> Response:
    """A list as `format` or `Accept` asks for it, with the address of the next page.

    Raises:
        ProblemError: `not_acceptable`.
    """
    accept = request.headers.get("accept", "")
    how = asked or chosen(accept)
    if how is None:
        detail = f"Accept names {shortened(accept)!r}; a list is one of {', '.join(ACCEPTED)}"
        raise ProblemError("not_acceptable", detail)
    # In a thread: thousands of rows take longer than a tick or a heartbeat may wait.
    body, etag = await asyncio.to_thread(_validated, told, how)
    headers = told.headers()
    if told.following:
        headers["Link"] = f'<{_following(request, told.following)}>; rel="next"'
    if request.method != "GET":  # only what an address alone asks for can be kept
        return Response(body, media_type=how.media_type, headers={**headers, **NOT_KEPT})
    headers |= {"ETag": etag, "Cache-Control": FINAL if told.final else ASK, "Vary": VARY}
    if is_held(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=how.media_type, headers=headers)


def _validated(told: ListAnswer, how: Format) -> tuple[bytes, str]:
    body = told.spelled(how)
    return body, validator(body)


def _following(request: Request, cursor: str) -> str:
    """The request with another cursor, as a reference that a proxy's address does not matter to."""
    others = [each for each in request.query_params.multi_items() if each[0] != "cursor"]
    return f"{quote(request.url.path)}?{urlencode([*others, ('cursor', cursor)])}"


async def _features(connection: asyncpg.Connection, page: Page) -> list[str]:
    """The features of the sets that the selected series are of, whether or not there are rows."""
    found = await connection.fetch(
        "SELECT columns FROM feature_sets WHERE feature_set = ANY($1) ORDER BY feature_set",
        sorted({span.place[FEATURES.series.index("feature_set")] for span in page.spans}),
    )
    return list(dict.fromkeys(name for row in found for name in row["columns"]))


def envelope(
    data: Sequence[Any],
    *,
    as_of: datetime,
    watermark: datetime | None = None,
    coverage: dict[str, Any] | None = None,
    revision: int | None = None,
) -> Response:
    """The JSON answer of what is no list of plain rows."""
    meta = {"as_of": as_of, "watermark": watermark, "coverage": coverage, "revision": revision}
    kept = {"Cache-Control": ASK, "Vary": VARY}
    return Response(enveloped(data, meta), media_type=JSON, headers=kept)
