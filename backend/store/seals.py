"""Up to which moment what sources told is sealed: whatever is stored later is dated later.

A panel of a process that does not ask the sources seals a close before it answers it; whoever
stores facts dates them after all seals, and seals the date itself. A lock makes either wait for
the other, so each fact is one of two: stored before a close was sealed, and can be read for it, or
dated after it. No clock has a part in that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import asyncpg

from backend.store.database import PoolOrConnection
from domain.errors import LeaseLostError
from domain.market import EPOCH, from_ms, to_ms
from domain.ports import Clock

FACTS: Final = "facts"  # whose seal is the date of the newest facts; all others are panels'
GIVEN_UP_S: Final = 5  # a storing that takes longer, or whose process hangs: closes wait for it
_LOCK: Final = 0x7365616C << 32  # of ours among the database's advisory locks
# It needs no disk: whatever is committed after it takes it along, and `refuse_unsealed` looks.
_SEAL: Final = f"""
WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock_shared({_LOCK}), set_config('synchronous_commit', 'off', true)
)
INSERT INTO source_seals AS seal (name, sealed_until) SELECT $1, $2 FROM turn
ON CONFLICT (name) DO UPDATE
    SET sealed_until = greatest(seal.sealed_until, EXCLUDED.sealed_until)
"""  # noqa: S608 - a number of ours
_ALONE: Final = f"""
SELECT set_config('idle_in_transaction_session_timeout', '{GIVEN_UP_S}s', true),
    set_config('statement_timeout', '{GIVEN_UP_S}s', true), pg_advisory_xact_lock({_LOCK})
"""
_NEWEST: Final = "SELECT max(sealed_until) FROM source_seals"
_KEEP: Final = """
INSERT INTO source_seals (name, sealed_until) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET sealed_until = EXCLUDED.sealed_until
"""
_OF: Final = "SELECT sealed_until FROM source_seals WHERE name = $1"
_SEALED: Final = "SELECT FROM source_seals WHERE name = $1 AND sealed_until >= $2"


async def seal(pool: asyncpg.Pool, panel: str, close: datetime) -> None:
    """From now on whatever is stored is dated after `close`."""
    await pool.execute(_SEAL, panel, close)


async def newest_facts(connection: PoolOrConnection) -> datetime:
    """The date of the facts that were stored last; the epoch where none were."""
    moment: datetime | None = await connection.fetchval(_OF, FACTS)
    return moment or EPOCH


async def alone(connection: asyncpg.Connection) -> None:
    """Until this transaction ends nothing is sealed and no other fact is stored."""
    await connection.execute(_ALONE)


async def date(connection: asyncpg.Connection, clock: Clock, *, least_ms: int) -> datetime:
    """The moment from which facts are known that are stored now, `alone`; whole milliseconds.

    Args:
        connection: in a transaction.
        clock: of the market; it is the last that is asked.
        least_ms: none before.
    """
    sealed = await connection.fetchval(_NEWEST) or EPOCH
    return from_ms(max(to_ms(clock.now()), to_ms(sealed) + 1, least_ms))


async def keep(connection: asyncpg.Connection, moment: datetime) -> None:
    """Facts of this date are stored with this transaction."""
    await connection.execute(_KEEP, FACTS, moment)


async def refuse_unsealed(connection: asyncpg.Connection, panel: str, close: datetime) -> None:
    """See within a transaction that a close is sealed still.

    Raises:
        LeaseLostError: the database lost the seal when its server died.
    """
    if await connection.fetchrow(_SEALED, panel, close) is None:
        raise LeaseLostError(f"{panel}: its close is not sealed any more")
