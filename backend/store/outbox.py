"""The outbox of notifications: entered with how far the record was read, kept until delivered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from backend.store import tail
from backend.store.database import affected
from domain.market import Instrument, SeriesKey, Timeframe
from domain.notifications import Notice
from services.notifications.wording import body_of, id_of

LONGEST_ERROR: Final = 200  # letters
STATES: Final = ("pending", "sent", "dead")

_FORGET: Final = "DELETE FROM notification_cursors WHERE split_part(log, '.', 1) <> ALL($1::text[])"
_CURSORS: Final = "SELECT log, position FROM notification_cursors"
_MOVE: Final = """
INSERT INTO notification_cursors (log, position) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (log) DO UPDATE SET position = EXCLUDED.position
"""
_ENTER: Final = """
INSERT INTO notifications (id, channel, event, subject, at, body, created_at, next_attempt_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (id) DO NOTHING
"""
# The first of each subject, by steps over the index notifications_unsent_idx.
_NEXT: Final = """
WITH RECURSIVE firsts AS (
    (SELECT subject, number FROM notifications WHERE channel = $1 AND state = 'pending'
     ORDER BY subject, number LIMIT 1)
    UNION ALL
    SELECT following.* FROM firsts, LATERAL (
        SELECT subject, number FROM notifications
        WHERE channel = $1 AND state = 'pending' AND subject > firsts.subject
        ORDER BY subject, number LIMIT 1
    ) AS following
)
SELECT n.number, n.id, n.body, n.at, n.attempts, n.created_at, n.next_attempt_at
FROM firsts JOIN notifications n USING (number)
ORDER BY n.next_attempt_at, n.number LIMIT 1
"""
_SENT: Final = """
UPDATE notifications SET state = 'sent', sent_at = $2, attempts = attempts + 1, error = NULL
WHERE number = $1
"""
_FAILED: Final = """
UPDATE notifications SET state = $2, next_attempt_at = $3, attempts = attempts + 1, error = $4
WHERE number = $1
"""
_BURY: Final = """
UPDATE notifications SET state = 'dead', error = $2 WHERE channel = $1 AND state = 'pending'
"""
_ORPHANS: Final = """
UPDATE notifications SET state = 'dead', error = $2
WHERE state = 'pending' AND channel <> ALL($1::text[])
"""
_UNSENT: Final = """
SELECT channel, state, count(*) AS count, min(created_at) AS oldest FROM notifications
WHERE state <> 'sent' GROUP BY channel, state
"""
_RAISE: Final = """
UPDATE notifications SET state = 'pending', attempts = 0, next_attempt_at = $3, error = NULL
WHERE state = 'dead' AND (id = ANY($1::text[]) OR channel = $2) RETURNING id
"""
# The index: notifications_created_at_idx.
_FORGET_SENT: Final = "DELETE FROM notifications WHERE created_at < $1 AND state = 'sent'"
_LISTED: Final = """
SELECT id, channel, event, subject, at, state, attempts, sent_at, error FROM notifications
WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR channel = $2)
ORDER BY number DESC LIMIT $3
"""
_STALE: Final = "SELECT exchange, symbol, timeframe, as_of FROM stale_predictions"
_GROWN_STALE: Final = """
INSERT INTO stale_predictions (exchange, symbol, timeframe, as_of) VALUES ($1, $2, $3, $4)
ON CONFLICT (exchange, symbol, timeframe) DO UPDATE SET as_of = EXCLUDED.as_of
"""
_FRESH: Final = """
DELETE FROM stale_predictions WHERE (exchange, symbol, timeframe) = ($1, $2, $3)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A notification as it is entered."""

    id: str
    channel: str
    event: str
    subject: str
    at: datetime
    body: bytes

    @classmethod
    def of(cls, notice: Notice, channel: str, market: str) -> Entry:
        """A notice for one channel."""
        identity = id_of(notice, channel)
        return cls(
            id=identity,
            channel=channel,
            event=notice.event,
            subject=notice.subject,
            at=notice.at,
            body=body_of(notice, identity, market),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What of a channel is in a state, and since when the oldest of it exists."""

    channel: str
    state: str
    count: int
    oldest: datetime


class Outbox:
    """Writes and reads `notifications` and their cursors."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, streams: Collection[str]) -> dict[str, int]:
        """How far each log of these channels of streams was read.

        Of a channel that was not read up to now all logs count as read: nobody is told history. A
        channel that is not named is forgotten, and would begin so again.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_FORGET, [*streams])
            cursors = dict(await connection.fetch(_CURSORS))
            new = [one for one in streams if one not in cursors]
            begun = {**dict.fromkeys(new, 0), **await tail.heads(connection, new)}
            await connection.execute(_MOVE, [*begun], [*begun.values()])
        return {**cursors, **begun}

    async def enter(
        self, entries: Sequence[Entry], cursors: Mapping[str, int], *, at: datetime
    ) -> None:
        """Enter what is to be told, with how far the record was read for it: both or neither."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _enter(connection, entries, at)
            await connection.execute(_MOVE, [*cursors], [*cursors.values()])

    async def stale(self, *, forget: bool = False) -> dict[SeriesKey, datetime]:
        """Whose predictions were told to be stale, with the close of the newest.

        Args:
            forget: nobody is told of it any more.
        """
        if forget:
            await self._pool.execute("DELETE FROM stale_predictions")
        return {
            (Instrument(row["exchange"], row["symbol"]), Timeframe(row["timeframe"])): row["as_of"]
            for row in await self._pool.fetch(_STALE)
        }

    async def enter_ages(
        self,
        entries: Sequence[Entry],
        *,
        stale: Mapping[SeriesKey, datetime],
        fresh: Collection[SeriesKey],
        at: datetime,
    ) -> None:
        """Enter what is to be told of predictions that grew stale, or are fresh again."""
        grown = [(one.exchange, one.symbol, each, when) for (one, each), when in stale.items()]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit TO on")  # told by no log
            await _enter(connection, entries, at)
            await connection.executemany(_GROWN_STALE, grown)
            gone = [(one.exchange, one.symbol, each) for one, each in fresh]
            await connection.executemany(_FRESH, gone)

    async def next(self, channel: str) -> asyncpg.Record | None:
        """Of the first of each subject, the one that may be tried soonest."""
        return await self._pool.fetchrow(_NEXT, channel)

    async def sent(self, number: int, *, at: datetime) -> None:
        """It was taken."""
        await self._pool.execute(_SENT, number, at)

    async def failed(self, number: int, error: str, *, again: datetime, dead: bool) -> None:
        """It was not taken; it is tried again, or is dead."""
        state = "dead" if dead else "pending"
        await self._pool.execute(_FAILED, number, state, again, error[:LONGEST_ERROR])

    async def bury(self, channel: str, error: str) -> int:
        """What waits for a channel is dead; how many."""
        return affected(await self._pool.execute(_BURY, channel, error))

    async def bury_others(self, channels: Sequence[str], error: str) -> int:
        """What waits for any other channel is dead; how many."""
        return affected(await self._pool.execute(_ORPHANS, channels, error))

    async def raise_dead(
        self, ids: Sequence[str], *, channel: str | None, at: datetime
    ) -> list[str]:
        """Let the dead of these ids, and all of a channel, be tried again; which they were."""
        return [row["id"] for row in await self._pool.fetch(_RAISE, ids, channel, at)]

    async def unsent(self) -> list[Backlog]:
        """What is pending or dead, by channel."""
        return [Backlog(**row) for row in await self._pool.fetch(_UNSENT)]

    async def forget(self, before: datetime) -> int:
        """Drop what was entered before, and was sent; how many."""
        return affected(await self._pool.execute(_FORGET_SENT, before))


async def listed(
    pool: asyncpg.Pool, *, state: str | None, channel: str | None, limit: int
) -> list[asyncpg.Record]:
    """The newest, of one state and channel where they are given."""
    found: list[asyncpg.Record] = await pool.fetch(_LISTED, state, channel, limit)
    return found


async def _enter(connection: asyncpg.Connection, entries: Sequence[Entry], at: datetime) -> None:
    rows: list[tuple[Any, ...]] = [
        (one.id, one.channel, one.event, one.subject, one.at, one.body.decode(), at)
        for one in entries
    ]
    await connection.executemany(_ENTER, rows)
