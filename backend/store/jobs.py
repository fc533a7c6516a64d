"""Jobs that callers asked for: each is entered once, and kept with what became of it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from domain.errors import AlphaPulseError, UsageError

MOST_OPEN: Final = 100  # jobs of one caller that have not ended
STATES: Final = ("queued", "running", "done", "failed")
COLUMNS: Final = (
    "id, kind, request, caller, idempotency_key, state, created_at, started_at, ended_at,"
    " progress, result, detail, attempts"
)
_ENTER: Final = f"""
INSERT INTO jobs
    (id, kind, request, caller, idempotency_key, request_sha256, state, created_at, attempts)
SELECT $1, $2, $3, $4, $5, $6, 'queued', $7, 0 WHERE $8 > (
    SELECT count(*) FROM jobs WHERE caller = $4 AND state IN ('queued', 'running')
)
ON CONFLICT (caller, idempotency_key) DO NOTHING RETURNING {COLUMNS}
"""  # noqa: S608 - words of ours
_KEYED: Final = f"""
SELECT {COLUMNS}, request_sha256 FROM jobs WHERE (caller, idempotency_key) = ($1, $2)
"""  # noqa: S608 - words of ours
_NEXT: Final = """
UPDATE jobs SET state = 'running', started_at = coalesce(started_at, $2), attempts = attempts + 1
WHERE id = (
    SELECT id FROM jobs WHERE kind = $1 AND state IN ('queued', 'running')
    ORDER BY state = 'queued', created_at, id LIMIT 1
) RETURNING id, kind, request, created_at, progress, attempts, detail
"""
_AGAIN: Final = "UPDATE jobs SET detail = $2 WHERE id = $1"
_STOPPED: Final = "UPDATE jobs SET attempts = attempts - 1 WHERE id = $1 AND state = 'running'"
_NOTE: Final = "UPDATE jobs SET progress = $2 WHERE id = $1"
_END: Final = """
UPDATE jobs SET state = $2, result = $3, detail = $4, ended_at = $5
WHERE id = $1 AND state = 'running'
"""


class ReusedKeyError(UsageError):
    """An Idempotency-Key names another request already."""


class TooManyJobsError(AlphaPulseError):
    """A caller's jobs that have not ended are as many as there may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a caller asks for.

    Args:
        kind: of job.
        request: JSON values.
        caller: who asks.
        key: the caller's own name for this request; None: each time it is sent it is another.
    """

    kind: str
    request: Mapping[str, Any]
    caller: str
    key: str | None

    @property
    def sha256(self) -> bytes:
        text = orjson.dumps([self.kind, self.request], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The job of an order, a row of `COLUMNS`; `replayed`: the order had come before."""

    row: asyncpg.Record
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One whose turn it is.

    Args:
        id, kind, request, created_at: as it was entered.
        progress: what an earlier attempt noted, empty at first.
        attempt: 1, or higher where earlier ones came to no end.
        why: the last of them, as far as it could say.
    """

    id: str
    kind: str
    request: Mapping[str, Any]
    created_at: datetime
    progress: Mapping[str, Any]
    attempt: int = 1
    why: str | None = None


class JobStore:
    """The table; of each kind one system takes the jobs."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, order: Order) -> Asked | None:
        """The job of an order that came before under the same key.

        Raises:
            ReusedKeyError: the key names another request.
        """
        if order.key is None:
            return None
        row = await self._pool.fetchrow(_KEYED, order.caller, order.key)
        if row is None:
            return None
        if row["request_sha256"] != order.sha256:
            raise ReusedKeyError(
                f"this Idempotency-Key names the job {row['id']}, of another request"
            )
        return Asked(row=row, replayed=True)

    async def enter(self, order: Order, *, at: datetime) -> Asked:
        """Enter an order, or find what was entered under its key.

        Raises:
            ReusedKeyError: the key names another request.
            TooManyJobsError: the caller has as many as may wait.
        """
        row = await self._pool.fetchrow(
            _ENTER, str(uuid.uuid4()), order.kind, _json(order.request), order.caller, order.key,
            order.sha256, at, MOST_OPEN,
        )  # fmt: skip
        if row is not None:
            return Asked(row=row, replayed=False)
        if (known := await self.find(order)) is not None:
            return known
        raise TooManyJobsError(f"{MOST_OPEN} jobs of this caller have not ended; wait for one")

    async def next(self, kind: str, *, at: datetime) -> Job | None:
        """The next of a kind: one that was cut short, else the oldest that waits."""
        row = await self._pool.fetchrow(_NEXT, kind, at)
        if row is None:
            return None
        return Job(
            id=row["id"],
            kind=kind,
            request=orjson.loads(row["request"]),
            created_at=row["created_at"],
            progress=orjson.loads(row["progress"] or "{}"),
            attempt=row["attempts"],
            why=row["detail"],
        )

    async def note(self, job: Job, progress: Mapping[str, Any]) -> None:
        """How far it is; who takes it up again goes on from there."""
        await self._pool.execute(_NOTE, job.id, _json(progress))

    async def again(self, job: Job, why: str) -> None:
        """An attempt came to no end that anybody foresaw; there may be another."""
        await self._pool.execute(_AGAIN, job.id, why)

    async def stopped(self, job: Job) -> None:
        """The system stops in good order: this was no attempt."""
        await self._pool.execute(_STOPPED, job.id)

    async def end(
        self, job: Job, *, state: str, result: object, detail: str | None, at: datetime
    ) -> None:
        """What became of it; `state` is `done` or `failed`."""
        text = None if result is None else _json(result)
        await self._pool.execute(_END, job.id, state, text, detail, at)


async def read_jobs(pool: asyncpg.Pool, *, limit: int) -> list[asyncpg.Record]:
    """The newest jobs, the newest first."""
    rows: list[asyncpg.Record] = await pool.fetch(
        f"SELECT {COLUMNS} FROM jobs ORDER BY created_at DESC, id DESC LIMIT $1",  # noqa: S608 - words of ours
        limit,
    )
    return rows


async def read_job(place: asyncpg.Pool | asyncpg.Connection, name: str) -> asyncpg.Record | None:
    """One job by its id; None where there is none."""
    return await place.fetchrow(f"SELECT {COLUMNS} FROM jobs WHERE id = $1", name)  # noqa: S608 - words of ours


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
