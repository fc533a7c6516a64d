"""Heads and newest rows of streams, read from the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
import orjson

from backend.api.connection import Head

RECENT: Final = 16  # events looked through for the newest row of each horizon


async def known_heads(connection: asyncpg.Connection) -> dict[str, Head]:
    """Every stream that exists, and its head."""
    found = await connection.fetch("SELECT stream, epoch, head_offset FROM stream_heads")
    return {stream: Head(epoch, offset) for stream, epoch, offset in found}


async def newest_rows(
    connection: asyncpg.Connection, streams: Sequence[str]
) -> dict[str, list[bytes]]:
    """The row with the newest time of each stream, for every horizon its last events speak of.

    Read through the primary key of `stream_events`.
    """
    if not streams:
        return {}
    found = await connection.fetch(_NEWEST, list(streams), RECENT)
    newest: dict[str, dict[int, tuple[str, bytes]]] = {}
    for stream, payload in found:  # oldest first: of one row, the last event counts
        row = orjson.loads(payload)
        of_stream = newest.setdefault(stream, {})
        about = row.get("as_of") or row.get("open_time") or ""
        before, _ = of_stream.get(row.get("horizon", 0), ("", b""))
        if about >= before:
            of_stream[row.get("horizon", 0)] = (about, payload)
    return {stream: [payload for _, payload in rows.values()] for stream, rows in newest.items()}


_NEWEST: Final = """
    SELECT h.stream, e.payload
    FROM stream_heads h, LATERAL (
        SELECT payload, "offset" FROM stream_events
        WHERE stream_id = h.stream_id ORDER BY "offset" DESC LIMIT $2
    ) e
    WHERE h.stream = ANY($1::text[])
    ORDER BY h.stream, e."offset"
    """
