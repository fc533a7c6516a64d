"""Work within a transaction that is done once, though the answer to its commit may be lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, Generic, NamedTuple, TypeVar

import asyncpg

T = TypeVar("T")

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
