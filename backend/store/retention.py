"""Drops what the operator lets go, a bounded piece in each transaction.

Of a log of streams blocks go from its beginning, and only those that every reader with a cursor has
read. Where the log then begins, and the hash of each stream's last dropped event, is a row of
`stream_bases`: whoever reads or recomputes the log goes on from there. The last block stays, and so
do the logs that have no panel (`models`, `gaps`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from backend.store.database import PoolOrConnection, affected
from backend.store.locks import take_turn
from backend.store.stream_log import FIRST_HASH, dated, split_hashes

TURN: Final = "retention"
BLOCKS: Final = 200  # of a transaction, at most
ROWS: Final = 10_000  # the same

# Blocks up to `upto` may go; a reader of a channel that has no cursor of a log has read none of it.
_LOGS: Final = """
SELECT log, coalesce(base.block, 0) AS dropped, least(head.block - 1,
    CASE WHEN EXISTS (SELECT FROM notification_cursors c WHERE c.log = channel) THEN coalesce(
        (SELECT position FROM notification_cursors c WHERE c.log = head.log), 0) END,
    CASE WHEN channel = ANY($1::text[]) THEN coalesce(
        (SELECT min(c.block) FROM relay_cursors c WHERE c.log = head.log), 0) END
) AS upto, head.block - 1 AS wanted
FROM stream_heads AS head LEFT JOIN stream_bases AS base USING (log),
    split_part(log, '.', 1) AS channel
WHERE channel <> log ORDER BY log
"""
# `published_at` never goes back in a log: these blocks have no other between them.
_UPTO: Final = """
SELECT max(block) FROM stream_blocks
WHERE log = $1 AND block > $2 AND block <= $3 AND published_at < $4
"""
_OLDEST: Final = f"""
SELECT {dated("published_at")} FROM stream_blocks
WHERE log = $1 AND block > $2 ORDER BY block LIMIT 1
"""  # noqa: S608 - names are ours
_BASE: Final = "SELECT offsets, hashes FROM stream_bases WHERE log = $1"
_LAST: Final = """
SELECT DISTINCT ON (place) place, "offset", substr(hashes, (n::int - 1) * 32 + 1, 32) AS hash
FROM stream_blocks CROSS JOIN unnest(places, offsets) WITH ORDINALITY AS e(place, "offset", n)
WHERE log = $1 AND block > $2 AND block <= $3 ORDER BY place, block DESC, n DESC
"""
_DROP: Final = """
WITH gone AS (
    DELETE FROM stream_blocks WHERE log = $1 AND block > $2 AND block <= $3
    RETURNING as_of, published_at
)
INSERT INTO stream_bases AS base (
    log, block, offsets, hashes, first_as_of, last_as_of, published_at
) SELECT $1::text, $3::bigint, $4::bigint[], $5::bytea, min(as_of), max(as_of), max(published_at)
FROM gone
ON CONFLICT (log) DO UPDATE SET block = excluded.block, offsets = excluded.offsets,
    hashes = excluded.hashes, first_as_of = least(base.first_as_of, excluded.first_as_of),
    last_as_of = greatest(base.last_as_of, excluded.last_as_of),
    published_at = greatest(base.published_at, excluded.published_at)
"""
_QUARANTINE: Final = """
DELETE FROM quarantine WHERE id IN (
    SELECT id FROM quarantine WHERE received_at < $1 ORDER BY id LIMIT $2
)
"""


class Extent(NamedTuple):
    """Up to which block a log may be dropped, and what was."""

    log: str
    dropped: int
    upto: int
    held: bool  # whether a reader has not come so far


async def extents(connection: PoolOrConnection, relayed: Sequence[str]) -> list[Extent]:
    """Of every log with a panel, by name.

    Args:
        connection: any.
        relayed: channels that are put on a broker.
    """
    rows = await connection.fetch(_LOGS, relayed)
    return [
        Extent(row["log"], row["dropped"], row["upto"], row["upto"] < row["wanted"]) for row in rows
    ]


async def drop_events(
    connection: asyncpg.Connection, extent: Extent, *, before: datetime
) -> Extent | None:
    """Drop the oldest blocks of a log that were published before; None: there are none left."""
    name, dropped = extent.log, extent.dropped
    async with connection.transaction():
        await take_turn(connection, {TURN})
        most = min(extent.upto, dropped + BLOCKS)
        upto = await connection.fetchval(_UPTO, name, dropped, most, before)
        if upto is None:
            return None
        base = await connection.fetchrow(_BASE, name)
        offsets = list(base["offsets"]) if base else []
        hashes = split_hashes(base["hashes"]) if base else []
        for place, offset, digest in await connection.fetch(_LAST, name, dropped, upto):
            missing = place - len(offsets)
            offsets += [0] * missing
            hashes += [FIRST_HASH] * missing
            offsets[place - 1], hashes[place - 1] = offset, digest
        await connection.execute(_DROP, name, dropped, upto, offsets, b"".join(hashes))
    return extent._replace(dropped=upto)


async def held(
    connection: PoolOrConnection, relayed: Sequence[str], *, before: datetime
) -> list[str]:
    """The logs with events published before that a reader has not read; see `extents`."""
    found = []
    for extent in await extents(connection, relayed):
        if extent.held:
            published = await connection.fetchval(_OLDEST, extent.log, extent.upto)
            found += [extent.log] if published < before else []
    return found


async def drop_quarantine(connection: asyncpg.Connection, *, before: datetime) -> bool:
    """Drop rows that were set aside before; whether there may be more."""
    return affected(await connection.execute(_QUARANTINE, before, ROWS)) == ROWS
