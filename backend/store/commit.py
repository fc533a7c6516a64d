"""The two ways of writing a plan: as rows that are all new, or row by row against what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import numpy as np
import orjson
from sqlalchemy import Table

from backend.store.candles import merge_versions
from backend.store.copy import Rows
from backend.store.merge import append, keep_first, merge
from backend.store.quarantine import Marks, keep_good
from backend.store.stream_log import Drafts, log_of
from backend.store.writes import Write

# The index: stream_blocks_log_as_of_idx.
_TOLD: Final = """
SELECT stream, payload FROM stream_events
WHERE log = $1 AND as_of = $2 AND stream = ANY($3::text[])
"""
# As old as events that were dropped: what was told of it is not known any more.
_EXPIRED: Final = "SELECT FROM stream_bases WHERE log = $1 AND last_as_of >= $2"
_STORED: Final = """
SELECT instrument_id FROM candles
WHERE instrument_id = ANY($1::int[]) AND timeframe = $2 AND open_time = $3
"""

# What a second telling of the same fact may spell differently.
_MOMENTS: Final = frozenset({"known_at", "source"})


async def copy_new(
    connection: asyncpg.Connection, work: Sequence[Write], tell: Callable[[Drafts], None]
) -> None:
    """Write rows that are all new, and tell their events.

    Raises:
        asyncpg.UniqueViolationError: one is not; the transaction is void.
        asyncpg.CheckViolationError: one is impossible; the same.
    """
    # Whatever is told in any case is spelt and chained while the server takes the rows.
    sure = next((n for n, write in enumerate(work) if _doubtful(write)), len(work))
    telling = asyncio.create_task(asyncio.to_thread(_tell, work[:sure], tell))
    try:
        for batches in _new_rows(work):
            await append(connection, batches)
    finally:
        await telling
    for write in work[sure:]:
        for drafts in await _news(connection, write):
            tell(drafts)


def _new_rows(work: Sequence[Write]) -> Iterable[list[Rows]]:
    """Of each table, and of each feature set in it: rows of one width are sent together."""
    new: dict[tuple[Table, int], list[Rows]] = {}
    for write in work:
        if write.rows is not None and not write.guard:
            values = write.rows.columns.get("values")
            width = values.shape[1] if isinstance(values, np.ndarray) else 1
            new.setdefault((write.rows.table, width), []).append(write.rows)
    return new.values()


def _doubtful(write: Write) -> bool:
    """Whether the store has to say which of its events are news."""
    return bool(write.guard) or (write.rows is None and write.doubtful)


def _tell(work: Sequence[Write], tell: Callable[[Drafts], None]) -> None:
    for write in work:
        if write.drafts is not None:
            tell(write.drafts)


async def _news(connection: asyncpg.Connection, write: Write) -> list[Drafts]:
    if write.rows is not None and write.guard:
        changed = await merge(connection, write.rows, answers=write.answers, guard=write.guard)
        return _chosen(write.drafts, changed)
    if write.rows is None and write.doubtful:
        return await _untold(connection, write)
    return [] if write.drafts is None else [write.drafts]


async def compare(
    connection: asyncpg.Connection,
    work: Sequence[Write],
    tell: Callable[[Drafts], None],
    *,
    received_at: datetime,
) -> None:
    """Write what is new in it, set aside what the tables refuse, and tell the news."""
    for write in work:
        if write.rows is None:
            news = await _untold(connection, write)
        else:
            marks = await _keep(connection, write, write.rows, received_at)
            news = _chosen(write.drafts, marks)
        for drafts in news:
            tell(drafts)


async def _keep(
    connection: asyncpg.Connection, write: Write, rows: Rows, received_at: datetime
) -> Marks:
    async def store(some: Rows) -> Marks:
        if write.guard:
            return await merge(connection, some, answers=write.answers, guard=write.guard)
        return await keep_first(connection, some, answers=write.answers, received_at=received_at)

    if write.versions:
        return await merge_versions(connection, rows, received_at=received_at)
    return await keep_good(connection, rows, store, received_at=received_at)


async def _untold(connection: asyncpg.Connection, write: Write) -> list[Drafts]:
    """The drafts of stored candles, or of models, that the log has not told yet.

    Of a close whose events may have been dropped nothing is told again.
    """
    drafts = write.drafts
    if drafts is None:
        return []
    if write.candles is not None:
        ids, timeframe, open_time = write.candles
        found = await connection.fetch(_STORED, ids.tolist(), timeframe, open_time)
        drafts = drafts.chosen(np.isin(ids, [row["instrument_id"] for row in found]))
    if not drafts.streams:
        return []
    log = log_of(drafts.streams[0])
    if await connection.fetch(_EXPIRED, log, drafts.as_of):
        return []
    told = await connection.fetch(_TOLD, log, drafts.as_of, list(drafts.streams))
    known = {(row["stream"], _fact(row["payload"])) for row in told}
    events = zip(drafts.streams, drafts.payloads, strict=True)
    return [drafts.chosen((stream, _fact(payload)) not in known for stream, payload in events)]


def _fact(payload: bytes) -> bytes:
    try:
        row = orjson.loads(payload)
        fact = {name: value for name, value in row.items() if name not in _MOMENTS}
    except (ValueError, AttributeError):  # an event that was edited tells none
        return payload
    return orjson.dumps(fact, option=orjson.OPT_SORT_KEYS)


def _chosen(drafts: Drafts | None, marks: Marks) -> list[Drafts]:
    return [] if drafts is None else [drafts.chosen(marks.tolist())]
