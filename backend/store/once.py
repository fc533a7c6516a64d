"""Work within a transaction that is done once, though the answer to its commit may be lost."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

import asyncpg

from backend.store.database import patiently
from domain.ports import Clock

T = TypeVar("T")

_TURN: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '300s', true), pg_advisory_xact_lock($1)
"""
_NUMBER: Final = "SELECT pg_current_xact_id()::text"
# A server that was promoted may never have heard of it, and refuses to be asked of such a one.
_COMMITTED: Final = """
SELECT CASE WHEN number < pg_snapshot_xmax(pg_current_snapshot())
    THEN pg_xact_status(number) = 'committed' END
FROM (SELECT $1::text::xid8) AS asked (number)
"""


class _Try(NamedTuple):
    number: str  # of its transaction
    result: Any


class Once(Generic[T]):
    """What was tried under a name, until it is known to be committed."""

    def __init__(self) -> None:
        self._tries: dict[Hashable, _Try] = {}

    async def do(
        self, connection: asyncpg.Connection, name: Hashable, work: Callable[[], Awaitable[T]]
    ) -> T:
        """Do `work`, or give what it gave where its transaction was committed.

        Args:
            connection: within a transaction that waits for the one before it to end.
            name: of the work, the same when it is tried again.
            work: whatever is to be done.
        """
        before = self._tries.get(name)
        if before is not None and await connection.fetchval(_COMMITTED, before.number):
            found: T = before.result
            return found
        result = await work()
        self._tries[name] = _Try(await connection.fetchval(_NUMBER), result)
        return result

    def done(self, name: Hashable) -> None:
        """It is committed, and will not be tried again."""
        self._tries.pop(name, None)


async def surely(
    begin: Callable[[], AbstractAsyncContextManager[asyncpg.Connection]],
    work: Callable[[asyncpg.Connection], Awaitable[T]],
    wall: Clock,
) -> T:
    """What `work` gives within a transaction that is committed once, however the database does.

    Args:
        begin: gives a connection within a transaction, at each try.
        work: done again from its beginning where what it did was not committed.
        wall: of waits for the database.
    """
    once, turn = Once[T](), secrets.randbits(63)

    async def attempt() -> T:
        async with begin() as connection:
            await connection.execute(_TURN, turn)  # until the try before this one has ended
            return await once.do(connection, "", partial(work, connection))

    return await patiently(attempt, wall)
