"""Writers of one panel (exchange and timeframe) take turns, so that offsets follow commits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from zlib import crc32

import asyncpg

from domain.market import Timeframe

_SPACE: Final = 0x616C7068 << 32  # ours among the database's advisory locks
_LOCK: Final = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"


def panel(exchange: str, timeframe: Timeframe) -> str:
    """The name of a panel's turn.

    >>> panel("binance", Timeframe.H1)
    'binance|1h'
    """
    return f"{exchange}|{timeframe.value}"


async def take_turn(connection: asyncpg.Connection, names: Iterable[str]) -> None:
    """Wait for our turn at each name; it ends with the transaction.

    Always in the same order, so that two writers cannot wait for each other.
    """
    keys = sorted({_SPACE | crc32(name.encode()) for name in names})
    await connection.execute(_LOCK, keys)
