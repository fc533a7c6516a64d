"""What a room knows, kept so that a restart goes on from there instead of from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

import asyncpg

from backend.store.database import PoolOrConnection
from domain.market import Timeframe

KEPT: Final = 2  # of each key: the newest, and the one before in case it is damaged

_SAVE: Final = """
INSERT INTO state_snapshots AS kept (exchange, timeframe, room, scope, as_of, payload, sha256)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (exchange, timeframe, room, scope, as_of) DO UPDATE
SET payload = EXCLUDED.payload, sha256 = EXCLUDED.sha256 WHERE kept.sha256 <> EXCLUDED.sha256
"""
_PRUNE: Final = f"""
DELETE FROM state_snapshots
WHERE (exchange, timeframe, room, scope) = ($1, $2, $3, $4) AND as_of < (
    SELECT min(as_of) FROM (
        SELECT as_of FROM state_snapshots
        WHERE (exchange, timeframe, room, scope) = ($1, $2, $3, $4)
        ORDER BY as_of DESC LIMIT {KEPT}
    ) AS newest
)
"""  # noqa: S608 - a number of ours
_LOAD: Final = """
SELECT as_of, payload, sha256 FROM state_snapshots
WHERE (exchange, timeframe, room, scope) = ($1, $2, $3, $4) AND as_of <= $5
ORDER BY as_of DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of one room for a panel, after everything up to `as_of`.

    `scope` tells states of a room apart (an instrument, a horizon); "" when there is one.
    """

    exchange: str
    timeframe: Timeframe
    room: str
    scope: str
    as_of: datetime
    payload: bytes


async def save(connection: asyncpg.Connection, snapshots: Sequence[Snapshot]) -> None:
    """Store snapshots, keeping the KEPT newest of each key.

    Call it within the transaction of the rows that the states produced.
    """
    for one in snapshots:
        key = (one.exchange, one.timeframe.value, one.room, one.scope)
        digest = sha256(one.payload).digest()
        await connection.execute(_SAVE, *key, one.as_of, one.payload, digest)
        await connection.execute(_PRUNE, *key)


async def load(
    connection: PoolOrConnection,
    key: tuple[str, Timeframe, str, str],
    *,
    until: datetime,
) -> Snapshot | None:
    """The newest undamaged snapshot up to `until` of (exchange, timeframe, room, scope)."""
    exchange, timeframe, room, scope = key
    rows = await connection.fetch(_LOAD, exchange, timeframe.value, room, scope, until)
    for as_of, payload, digest in rows:
        if sha256(payload).digest() == digest:
            return Snapshot(
                exchange=exchange,
                timeframe=timeframe,
                room=room,
                scope=scope,
                as_of=as_of,
                payload=payload,
            )
    return None
