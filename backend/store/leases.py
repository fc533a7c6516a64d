"""Who may do what alone: leases that end with their holder, and fence off whoever lost one.

A lease is held by a lock of a session, which the server gives back when the session ends, however
its process died. Whoever takes it raises its generation; a transaction that asks for the generation
it was taken with (`Lease.fence`) is refused from then on, and holds a taker up until it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from zlib import crc32

import asyncpg

from backend.store.database import CONNECTION_ERRORS, PoolOrConnection, connect
from domain.errors import LeaseLostError, StoreError, StoreUnavailableError, UsageError, in_one_line

Fence = Callable[[asyncpg.Connection], Awaitable[None]]

_SPACE: Final = 0x6C656173  # of ours among the database's advisory locks
_WORKER: Final = 0  # in it: held by each worker, together
_SHAPE: Final = 1  # by one process that does all, alone, or by rooms that run apart, together
_CLOCKS: Final = {"system": 2, "exchange": 3}  # by all who go by it, together
ANSWER_WITHIN_S: Final = 5.0
ENTER_EVERY_S: Final = 0.5
ENTER_ATTEMPTS: Final = 30  # as long as the server needs to notice that a machine is gone
# The server gives up a session whose machine is gone within some ten seconds.
_KEPT_ALIVE: Final = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_UNLOCK: Final = "SELECT pg_advisory_unlock($1)"
_UNJOIN: Final = "SELECT pg_advisory_unlock_shared($1)"
_TAKE: Final = """
INSERT INTO leases (name, generation, holder, taken_at) VALUES ($1, 1, $2, clock_timestamp())
ON CONFLICT (name) DO UPDATE
    SET generation = leases.generation + 1, holder = $2, taken_at = clock_timestamp()
RETURNING generation
"""
_FENCE: Final = "SELECT FROM leases WHERE name = $1 AND generation = $2 FOR SHARE"
_LOCK: Final = "SELECT pg_try_advisory_lock($1)"
_TOGETHER: Final = "SELECT pg_try_advisory_lock_shared($1)"
_JOIN: Final = "SELECT pg_advisory_lock_shared($1)"
_HELD: Final = """
FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = $1 AND objid = $2
"""
_WORKERS: Final = f"SELECT count(DISTINCT pid) {_HELD} AND mode = 'ShareLock'"
_ANY: Final = f"SELECT EXISTS (SELECT {_HELD})"
_LOCKED: Final = """
SELECT objid::bigint AS objid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid = $1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_TAKEN: Final = "SELECT name, holder, taken_at FROM leases ORDER BY name"
_HALF: Final = 0xFFFFFFFF  # of a key: the other half is `_SPACE`
_EVICT: Final = f"SELECT pg_terminate_backend(pid) {_HELD} AND pid <> pg_backend_pid()"


async def no_fence(connection: asyncpg.Connection) -> None:
    """Of one process that does all: nobody else writes what it writes."""
    del connection


@dataclass(frozen=True, slots=True)
class Lease:
    """What its holder may do alone, until somebody else has taken it."""

    name: str
    generation: int

    async def fence(self, connection: asyncpg.Connection) -> None:
        """See within a transaction that it is ours; nobody takes it before that has ended.

        Raises:
            LeaseLostError: it is not.
        """
        if await connection.fetchrow(_FENCE, self.name, self.generation) is None:
            raise LeaseLostError(f"{self.name} is another process's now")


@asynccontextmanager
async def fenced(place: PoolOrConnection, fence: Fence) -> AsyncIterator[asyncpg.Connection]:
    """A transaction in which something is decided; nothing of it is stored where `fence` refuses.

    The fence comes last: who takes the lease waits for a commit, and for no decision.

    Raises:
        LeaseLostError: of the fence, also where a rule refused what the next holder made untimely.
    """
    async with AsyncExitStack() as stack:
        if isinstance(place, asyncpg.Pool):
            place = await stack.enter_async_context(place.acquire())
        await stack.enter_async_context(place.transaction())
        try:
            yield place
        except StoreError:
            await fence(place)
            raise
        await fence(place)


class Held(NamedTuple):
    """A lease as the database has it."""

    name: str
    holder: str
    taken_at: datetime
    held: bool  # its holder has its session still


async def read_leases(pool: asyncpg.Pool) -> list[Held]:
    """Every lease that was ever taken, with who took it last."""
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        locked = {row["objid"] for row in await connection.fetch(_LOCKED, _SPACE)}
        rows = await connection.fetch(_TAKEN)
    return [
        Held(row["name"], row["holder"], row["taken_at"], _key(row["name"]) & _HALF in locked)
        for row in rows
    ]


async def count_workers(pool: asyncpg.Pool) -> int:
    """How many processes run panels, or stand by."""
    count: int = await pool.fetchval(_WORKERS, _SPACE, _WORKER)
    return count


@dataclass(slots=True)
class Leases:
    """Those of one process, on a connection of their own."""

    holder: str
    _connection: asyncpg.Connection
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def pid(self) -> int:
        """Of the server's process that holds them."""
        pid: int = self._connection.get_server_pid()
        return pid

    async def take(self, name: str) -> Lease | None:
        """None while another process has it.

        Raises:
            StoreUnavailableError: this process has lost all of its own.
        """
        async with self._asking() as connection:
            if not await connection.fetchval(_LOCK, _key(name)):
                return None
            return Lease(name, await connection.fetchval(_TAKE, name, self.holder))

    async def give_back(self, lease: Lease) -> None:
        """Let others take it at once.

        Raises:
            StoreUnavailableError: they may already.
        """
        async with self._asking() as connection:
            await connection.execute(_UNLOCK, _key(lease.name))

    async def evict(self, name: str) -> bool:
        """End the session of whoever has it, and all of its leases with it; whether somebody had.

        Raises:
            StoreUnavailableError: as `take`.
        """
        async with self._asking() as connection:
            return bool(await connection.fetch(_EVICT, _SPACE, _key(name) & _HALF))

    async def join(self) -> None:
        """Count among the workers from now on.

        Raises:
            StoreUnavailableError: as `take`.
        """
        async with self._asking() as connection:
            await connection.execute(_JOIN, _reserved(_WORKER))

    async def enter(self, *, alone: bool) -> None:
        """Keep others from the database: all of them, or those who would be alone.

        One that has just died is waited for.

        Raises:
            UsageError: there is another.
            StoreUnavailableError: as `take`.
        """
        for _ in range(ENTER_ATTEMPTS):
            async with self._asking() as connection:
                if await connection.fetchval(_LOCK if alone else _TOGETHER, _reserved(_SHAPE)):
                    return
            await asyncio.sleep(ENTER_EVERY_S)
        other = "another system predicts" if alone else "one process does all that rooms do"
        raise UsageError(f"{other} over this database already; stop it first")

    async def go_by(self, clock: str) -> None:
        """Keep those who go by another clock away: what two clocks make cannot be told apart.

        One that has just died is waited for.

        Args:
            clock: the setting of that name.

        Raises:
            UsageError: there is another.
            StoreUnavailableError: as `take`.
        """
        (other,) = _CLOCKS.keys() - {clock}
        for _ in range(ENTER_ATTEMPTS):
            async with self._asking() as connection:
                await connection.execute(_JOIN, _reserved(_CLOCKS[clock]))
                if not await connection.fetchval(_ANY, _SPACE, _CLOCKS[other]):
                    return
                await connection.execute(_UNJOIN, _reserved(_CLOCKS[clock]))
            await asyncio.sleep(ENTER_EVERY_S)
        raise UsageError(
            f"setting clock is {clock}, and a process over this database goes by {other}:"
            " set ALPHAPULSE_CLOCK alike for all"
        )

    async def workers(self) -> int:
        """How many processes count among them.

        Raises:
            StoreUnavailableError: as `take`.
        """
        async with self._asking() as connection:
            count: int = await connection.fetchval(_WORKERS, _SPACE, _WORKER)
            return count

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    yield self._connection
            except CONNECTION_ERRORS as error:
                self._connection.terminate()  # half an answer would leave it unknown what we hold
                raise StoreUnavailableError(f"the leases are lost: {in_one_line(error)}") from error


@asynccontextmanager
async def open_leases(url: str, holder: str) -> AsyncIterator[Leases]:
    """The leases of a process; all are given back at the end.

    Args:
        url: of the database, not by way of a pooler of transactions.
        holder: its name, for people.

    Raises:
        StoreUnavailableError: no connection.
    """
    connection = await connect(url, server_settings=_KEPT_ALIVE, command_timeout=ANSWER_WITHIN_S)
    try:
        yield Leases(holder, connection)
    finally:
        connection.terminate()


def _key(name: str) -> int:
    return _SPACE << 32 | max(crc32(name.encode()), max(_CLOCKS.values()) + 1)


def _reserved(number: int) -> int:
    return _SPACE << 32 | number
