"""The audit log: every change that was asked for, and every request that was refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

_BEGIN: Final = """
INSERT INTO audit_log (at, last_at, caller, address, action, path, request_id)
VALUES ($1, $1, $2, $3, $4, $5, $6) RETURNING id
"""
_END: Final = "UPDATE audit_log SET outcome = $2, last_at = $3 WHERE id = $1"
_REFUSED: Final = """
INSERT INTO audit_log AS a (at, last_at, caller, address, action, path, outcome, request_id, count,
    minute)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, date_trunc('minute', $1::timestamptz, 'UTC'))
ON CONFLICT (minute, caller, address, outcome) WHERE minute IS NOT NULL
DO UPDATE SET count = a.count + excluded.count, last_at = greatest(a.last_at, excluded.last_at)
"""
_NEWEST: Final = """
SELECT at, last_at, caller, address, action, path, outcome, request_id, count FROM audit_log
WHERE $1::timestamptz IS NULL OR last_at >= $1 ORDER BY id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody asked for: who, from where, what."""

    caller: str  # id of a key, or a word of `Caller.name`
    address: str
    action: str  # a method, CONNECT of a socket, or a command
    path: str  # without its query
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Requests of one minute that were refused in the same way; `act` is the first."""

    act: Act
    outcome: int
    first: datetime
    last: datetime
    count: int


class AuditLog:
    """The table; rows are added, and never taken away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, act: Act, *, at: datetime) -> int:
        """Enter a change before it is made; the number of its row."""
        number = await self._pool.fetchval(
            _BEGIN, at, act.caller, act.address, act.action, act.path, act.request_id
        )
        return int(number)

    async def end(self, number: int, outcome: int, *, at: datetime) -> None:
        """How a change ended."""
        await self._pool.execute(_END, number, outcome, at)

    async def refused(self, refusals: Iterable[Refusals]) -> None:
        """Add refused requests to the rows of their minutes; all of them, or none."""
        rows = [
            (
                one.first, one.last, one.act.caller, one.act.address, one.act.action,
                one.act.path, one.outcome, one.act.request_id, one.count,
            )
            for one in refusals
        ]  # fmt: skip
        await self._pool.executemany(_REFUSED, rows)


async def read_audit(
    pool: asyncpg.Pool, *, since: datetime | None, limit: int
) -> list[asyncpg.Record]:
    """The newest rows, the newest first."""
    rows: list[asyncpg.Record] = await pool.fetch(_NEWEST, since, limit)
    return rows
