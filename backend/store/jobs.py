"""Jobs that callers asked for: each is entered once, and kept with what became of it.

A job has a part for each owner, the lease of whoever collects an exchange or runs a panel. An owner
takes its parts and ends them; the row of the job tells what all of them come to.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from backend.store.database import PoolOrConnection
from backend.store.job_parts import Part, read_parts, together
from backend.store.leases import Fence, no_fence
from backend.store.once import surely
from domain.errors import AlphaPulseError, UsageError
from domain.market import EPOCH
from domain.ports import Clock

MOST_OPEN: Final = 100  # jobs of one caller that have not ended
STATES: Final = ("queued", "running", "done", "failed")
ORDERED: Final = frozenset({"retrain", "backfill", "rollback", "add", "remove"})  # by callers
KINDS: Final = ("retrain", "backfill", "rollback", "add", "remove", "join", "leave")
COLUMNS: Final = (
    "id, kind, request, caller, idempotency_key, state, created_at, started_at, ended_at,"
    " progress, result, detail, attempts"
)
_ENTER: Final = f"""
WITH entered AS (
    INSERT INTO jobs
        (id, kind, request, caller, idempotency_key, request_sha256, state, created_at, attempts)
    SELECT $1, $2, $3, $4, $5, $6, 'queued', $7, 0 WHERE $8 > (
        SELECT count(*) FROM jobs WHERE caller = $4 AND state IN ('queued', 'running')
    )
    ON CONFLICT (caller, idempotency_key) DO NOTHING RETURNING {COLUMNS}
), parts AS (
    INSERT INTO job_parts (job_id, owner, state, attempts)
    SELECT id, owner, 'queued', 0 FROM entered, unnest($9::text[]) AS owner
)
SELECT {COLUMNS} FROM entered
"""  # noqa: S608 - words of ours
_KEYED: Final = f"""
SELECT {COLUMNS}, request_sha256 FROM jobs WHERE (caller, idempotency_key) = ($1, $2)
"""  # noqa: S608 - words of ours
_NEXT: Final = """
WITH taken AS (
    UPDATE job_parts SET state = 'running', attempts = attempts + 1
    WHERE (job_id, owner) = (
        SELECT p.job_id, p.owner FROM job_parts AS p JOIN jobs AS j ON j.id = p.job_id
        WHERE p.owner = $1 AND p.state IN ('queued', 'running') AND j.kind = ANY($2::text[])
        ORDER BY p.state = 'queued', j.number LIMIT 1
    ) AND state IN ('queued', 'running') -- it may be cancelled meanwhile
    RETURNING job_id, owner, progress, detail, attempts
)
SELECT taken.*, kind, request, created_at FROM taken JOIN jobs ON id = job_id
"""
_WAITING: Final = """
SELECT DISTINCT p.owner, j.kind FROM job_parts AS p JOIN jobs AS j ON j.id = p.job_id
WHERE p.owner = ANY($1::text[]) AND p.state = 'queued'
"""
_HOLD: Final = "SELECT FROM jobs WHERE id = $1 FOR UPDATE"
_WHOLE: Final = """
UPDATE jobs SET state = $2, progress = $3, result = $4, detail = $5, attempts = $6,
    started_at = CASE WHEN $2 = 'queued' THEN NULL
        WHEN $6 > 0 THEN coalesce(started_at, $7) ELSE started_at END,
    ended_at = CASE WHEN $2 IN ('done', 'failed') THEN $7 END
WHERE id = $1 AND ended_at IS NULL
"""
_EXPLAIN: Final = "UPDATE job_parts SET detail = $3 WHERE (job_id, owner) = ($1, $2)"
_STOPPED: Final = """
UPDATE job_parts SET attempts = attempts - 1
WHERE (job_id, owner) = ($1, $2) AND state = 'running'
"""
_NOTE: Final = "UPDATE job_parts SET progress = $3 WHERE (job_id, owner) = ($1, $2)"
_END: Final = """
UPDATE job_parts SET state = $3, result = $4, detail = $5, problem = $6
WHERE (job_id, owner) = ($1, $2) AND state = 'running'
"""
_ORPHANS: Final = """
SELECT id, kind, request FROM jobs WHERE state IN ('queued', 'running')
    AND NOT EXISTS (SELECT FROM job_parts WHERE job_id = id)
"""
_ADOPT: Final = """
INSERT INTO job_parts (job_id, owner, state, attempts)
SELECT $1, owner, 'queued', 0 FROM unnest($2::text[]) AS owner ON CONFLICT DO NOTHING
"""
_DISMISS: Final = """
UPDATE jobs SET state = 'failed', detail = $2, ended_at = $3 WHERE id = $1 AND ended_at IS NULL
"""
_CANCEL: Final = """
UPDATE job_parts SET state = 'failed', detail = $2
WHERE job_id = $1 AND state = 'queued' RETURNING owner
"""
_LEFT: Final = """
SELECT job_id, p.owner FROM job_parts AS p JOIN jobs AS j ON j.id = p.job_id
WHERE j.caller = $1 AND p.state IN ('queued', 'running')
"""
_GIVE_UP: Final = """
UPDATE job_parts SET state = 'failed', detail = $3 WHERE (job_id, owner) = ($1, $2)
    AND state IN ('queued', 'running')
"""


class ReusedKeyError(UsageError):
    """An Idempotency-Key names another request already."""


class NothingWaitsError(UsageError):
    """Of an order that was to be cancelled all is begun, or ended."""


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
    """The job of an order, a row of `COLUMNS`.

    Args:
        row: of the job.
        replayed: the order had come before.
        parts: how far its owners were then.
    """

    row: asyncpg.Record
    replayed: bool
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One whose turn it is, or the part of it that an owner does.

    Args:
        id, kind, request, created_at: as it was entered.
        owner: name of the lease of whoever does this part.
        progress: what an earlier attempt noted, empty at first.
        attempt: 1, or higher where earlier ones came to no end.
        why: the last of them, as far as it could say.
    """

    id: str
    kind: str
    request: Mapping[str, Any]
    created_at: datetime
    owner: str = ""
    progress: Mapping[str, Any]
    attempt: int = 1
    why: str | None = None


class JobStore:
    """The table, and what of each job is whose.

    Args:
        pool: of connections that write.
        fence: refuses what an owner writes that has lost its lease.
    """

    def __init__(self, pool: asyncpg.Pool, fence: Fence = no_fence) -> None:
        self._pool = pool
        self._fence = fence

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
        return Asked(row=row, replayed=True, parts=await self.parts(row["id"]))

    async def enter(
        self,
        order: Order,
        owners: Sequence[str],
        *,
        at: datetime,
        request: Mapping[str, Any] | None = None,
    ) -> Asked:
        """Enter an order, or find what was entered under its key.

        Args:
            order: as it was asked.
            owners: names of the leases of those who do it, each a part.
            at: now.
            request: what they are to read, where it says more than what was asked.

        Raises:
            ReusedKeyError: the key names another request.
            TooManyJobsError: the caller has as many as may wait.
        """
        text = _json(order.request if request is None else request)
        row = await self._pool.fetchrow(
            _ENTER, str(uuid.uuid4()), order.kind, text, order.caller, order.key, order.sha256, at,
            MOST_OPEN, list(owners),
        )  # fmt: skip
        if row is not None:
            parts = [Part(owner=one, state="queued", attempts=0) for one in owners]
            return Asked(row=row, replayed=False, parts=parts)
        if (known := await self.find(order)) is not None:
            return known
        raise TooManyJobsError(f"{MOST_OPEN} jobs of this caller have not ended; wait for one")

    async def waiting(self, owners: Sequence[str]) -> set[tuple[str, str]]:
        """Of which of them, and of which kind, there is something to take."""
        rows = await self._pool.fetch(_WAITING, list(owners))
        return {(row["owner"], row["kind"]) for row in rows}

    async def next(self, owner: str, *kinds: str, at: datetime, wall: Clock) -> Job | None:
        """The next of an owner's and of some kinds: one that was cut short, else the first entered.

        However often the connection is lost meanwhile, it is one attempt.

        Args:
            owner: name of the lease.
            kinds: of jobs.
            at: now.
            wall: of waits for the database.

        Raises:
            LeaseLostError: the owner is another now; so do those below.
        """

        async def take(connection: asyncpg.Connection) -> asyncpg.Record | None:
            row = await connection.fetchrow(_NEXT, owner, list(kinds))
            if row is not None:
                await _tell(connection, row["job_id"], at)
            return row

        row = await surely(self._writing, take, wall)
        if row is None:
            return None
        return Job(
            id=row["job_id"],
            kind=row["kind"],
            request=orjson.loads(row["request"]),
            created_at=row["created_at"],
            owner=owner,
            progress=orjson.loads(row["progress"] or "{}"),
            attempt=row["attempts"],
            why=row["detail"],
        )

    async def note(self, job: Job, progress: Mapping[str, Any], *, at: datetime) -> None:
        """How far it is; who takes it up again goes on from there."""
        await self._change(job, at, _NOTE, _json(progress))

    async def explain(self, job: Job, why: str, *, at: datetime) -> None:
        """Why it has not ended yet: it is tried again, or waits."""
        await self._change(job, at, _EXPLAIN, why)

    async def stopped(self, job: Job, *, at: datetime) -> None:
        """The owner stops in good order: this was no attempt."""
        await self._change(job, at, _STOPPED)

    async def end(
        self,
        job: Job,
        *,
        state: str,
        result: object,
        detail: str | None,
        at: datetime,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        """What became of it; `state` is `done` or `failed`."""
        texts = (None if one is None else _json(one) for one in (result, problem))
        told, refused = texts
        await self._change(job, at, _END, state, told, detail, refused)

    async def parts(self, name: str) -> list[Part]:
        """How far each owner of a job is."""
        return await read_parts(self._pool, name)

    async def orphans(self) -> list[Job]:
        """Jobs of a release that knew no owners, which have not ended."""
        return [
            Job(
                id=row["id"],
                kind=row["kind"],
                request=orjson.loads(row["request"]),
                created_at=EPOCH,
                progress={},
            )
            for row in await self._pool.fetch(_ORPHANS)
        ]

    async def adopt(self, job: Job, owners: Sequence[str]) -> None:
        """Give an orphan owners."""
        await self._pool.execute(_ADOPT, job.id, list(owners))

    async def dismiss(self, job: Job, why: str, *, at: datetime) -> None:
        """Nobody can be the owner of an orphan."""
        await self._pool.execute(_DISMISS, job.id, why, at)

    async def cancel(self, name: str, why: str, *, at: datetime) -> int:
        """End what of an order nobody has begun; how many parts that were."""
        async with self._writing() as connection:
            cancelled = await connection.fetch(_CANCEL, name, why)
            if cancelled:
                await _tell(connection, name, at)
        return len(cancelled)

    async def give_up(self, caller: str, why: str, *, at: datetime) -> None:
        """Nobody waits any more for what a caller asked for."""
        async with self._writing() as connection:
            for name, owner in await connection.fetch(_LEFT, caller):
                await connection.execute(_GIVE_UP, name, owner, why)
                await _tell(connection, name, at)

    async def _change(self, job: Job, at: datetime, statement: str, *values: object) -> None:
        async with self._writing() as connection:
            await connection.execute(statement, job.id, job.owner, *values)
            await _tell(connection, job.id, at)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._pool.acquire() as connection, connection.transaction():
            await self._fence(connection)
            yield connection


async def _tell(connection: asyncpg.Connection, name: str, at: datetime) -> None:
    """Have the row of a job say what all of its parts come to."""
    await connection.execute(_HOLD, name)  # of two parts that end at once one sees the other
    whole = together(await read_parts(connection, name))
    texts = [None if one is None else _json(one) for one in (whole.progress, whole.result)]
    await connection.execute(_WHOLE, name, whole.state, *texts, whole.detail, whole.attempts, at)


async def read_jobs(pool: asyncpg.Pool, *, limit: int) -> list[asyncpg.Record]:
    """The newest jobs, the newest first."""
    rows: list[asyncpg.Record] = await pool.fetch(
        f"SELECT {COLUMNS} FROM jobs ORDER BY created_at DESC, id DESC LIMIT $1",  # noqa: S608 - words of ours
        limit,
    )
    return rows


async def read_job(place: PoolOrConnection, name: str) -> asyncpg.Record | None:
    """One job by its id; None where there is none."""
    return await place.fetchrow(f"SELECT {COLUMNS} FROM jobs WHERE id = $1", name)  # noqa: S608 - words of ours


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
