"""Heads and newest rows of streams, read from the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import asyncpg
import orjson

from backend.api import rows
from backend.api.connection import Head
from backend.api.gap_pages import missing_now
from backend.store.payloads import GAPS_STREAM
from backend.store.stream_log import log_of

RECENT: Final = 16  # blocks looked through for the newest row of each horizon

HEADS: Final = """
    SELECT stream, epoch, "offset", substr(hashes, (place::int - 1) * 32 + 1, 32) AS hash
    FROM stream_heads, unnest(streams, offsets) WITH ORDINALITY AS s(stream, "offset", place)
    ORDER BY stream
    """


async def known_heads(connection: asyncpg.Connection) -> dict[str, Head]:
    """Every stream that exists, and its head."""
    found = await connection.fetch(HEADS)
    return {row["stream"]: Head(row["epoch"], row["offset"]) for row in found}


async def newest_rows(
    connection: asyncpg.Connection, streams: Sequence[str]
) -> dict[str, list[bytes]]:
    """The row with the newest time of each stream, for every horizon its last events speak of.

    All instruments of a log are in its newest blocks, those that have left excepted, which
    are looked for alone. The stream of gaps begins with all that are not filled.
    """
    found: dict[str, list[bytes]] = {}
    if GAPS_STREAM in streams:
        found[GAPS_STREAM] = [rows.dumps(row) for row in await missing_now(connection)]
    logs: dict[str, set[str]] = {}
    for stream in set(streams) - {GAPS_STREAM}:
        logs.setdefault(log_of(stream), set()).add(stream)
    for log, wanted in logs.items():
        read = _of_streams(await connection.fetch(_NEWEST, log, RECENT), wanted)
        for stream in wanted - read.keys():
            rest = await connection.fetch(_NEWEST_OF, log, stream, RECENT)
            read.update(_of_streams(rest, {stream}))
        found.update(read)
    return found


def _of_streams(blocks: Iterable[asyncpg.Record], wanted: set[str]) -> dict[str, list[bytes]]:
    """The newest row of each horizon; `blocks` come newest first."""
    newest: dict[str, dict[int, tuple[str, bytes]]] = {}
    for names, places, ends, payloads in reversed(list(blocks)):
        start = 0
        for place, end in zip(places, ends, strict=True):
            stream, payload, start = names[place - 1], payloads[start:end], end
            if stream in wanted:  # of one row, the last event counts
                row = orjson.loads(payload)
                about = row.get("as_of") or row.get("open_time") or ""
                of_stream = newest.setdefault(stream, {})
                if about >= of_stream.get(row.get("horizon", 0), ("", b""))[0]:
                    of_stream[row.get("horizon", 0)] = (about, payload)
    return {stream: [payload for _, payload in rows.values()] for stream, rows in newest.items()}


_NEWEST: Final = """
    SELECT streams, places, ends, payloads FROM stream_blocks JOIN stream_heads USING (log)
    WHERE log = $1 ORDER BY stream_blocks.block DESC LIMIT $2
    """
_NEWEST_OF: Final = """
    SELECT streams, places, ends, payloads FROM stream_blocks b JOIN stream_heads h USING (log)
    WHERE log = $1 AND array_position(h.streams, $2::text) = ANY(b.places)
    ORDER BY b.block DESC LIMIT $3
    """
