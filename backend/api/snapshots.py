"""Heads and newest rows of streams, read from the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Final

import asyncpg
import orjson

from backend import damaged
from backend.api import rows
from backend.api.connection import Head
from backend.api.gap_pages import missing_now
from backend.store.payloads import GAPS_STREAM
from backend.store.stream_log import log_of, split_payloads
from backend.store.told_events import EDITED, name_of

RECENT: Final = 16  # blocks looked through for the newest row of each horizon

HEADS: Final = """
    SELECT stream, epoch, "offset", substr(hashes, (place::int - 1) * 32 + 1, 32) AS hash
    FROM stream_heads, unnest(streams, offsets) WITH ORDINALITY AS s(stream, "offset", place)
    WHERE stream IS NOT NULL AND "offset" IS NOT NULL
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
    for names, places, offsets, ends, payloads in reversed(list(blocks)):
        events = zip(places, split_payloads(payloads, ends), strict=False)
        for number, (place, payload) in enumerate(events):
            stream = names[place - 1] if place in range(1, len(names) + 1) else None
            if stream in wanted:  # of one row, the last event counts
                try:
                    about, horizon = _about(payload)
                except (ValueError, TypeError, AttributeError):
                    damaged.meet(name_of(stream, *offsets[number : number + 1]), EDITED)
                    continue
                of_stream = newest.setdefault(stream, {})
                if about >= of_stream.get(horizon, ("", b""))[0]:
                    of_stream[horizon] = (about, payload)
    return {stream: [payload for _, payload in rows.values()] for stream, rows in newest.items()}


def _about(payload: bytes) -> tuple[str, int]:
    """The time and the horizon that a row is of; "" and 0 where it has none.

    Raises:
        ValueError, TypeError, AttributeError: it was edited, and is no row.
    """
    row = orjson.loads(payload)
    return str(row.get("as_of") or row.get("open_time") or ""), index(row.get("horizon", 0))


_NEWEST: Final = """
    SELECT streams, places, b.offsets, ends, payloads
    FROM stream_blocks b JOIN stream_heads USING (log)
    WHERE log = $1 ORDER BY b.block DESC LIMIT $2
    """
_NEWEST_OF: Final = """
    SELECT streams, places, b.offsets, ends, payloads
    FROM stream_blocks b JOIN stream_heads h USING (log)
    WHERE log = $1 AND array_position(h.streams, $2::text) = ANY(b.places)
    ORDER BY b.block DESC LIMIT $3
    """
