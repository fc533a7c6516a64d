"""What sources told by a close, made again from the facts that are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import asyncpg

from backend.store import told_rows
from backend.store.instruments import Instruments
from backend.store.told import recall
from domain.events import SentimentBatch
from services.sentiment.blend import NAME
from services.sentiment.feature_set import REMEMBERED

CLOSES: Final = 100  # of a sample: the facts of each are read for themselves


async def retold(
    connection: asyncpg.Connection, *, seed: int, since: datetime
) -> AsyncIterator[tuple[SentimentBatch, SentimentBatch]]:
    """Of a sample of closes what is stored, and what follows from the facts.

    Args:
        connection: in a transaction that sees one state of the record.
        seed: of the sample.
        since: no earlier close.
    """
    instruments = Instruments(connection)
    for stored in await told_rows.sample(connection, closes=CLOSES, seed=seed, since=since):
        told, _ = await recall(
            connection,
            instruments,
            since=stored.as_of - REMEMBERED,
            until=stored.as_of,
            scorer=NAME,
        )
        yield stored, told.again(stored)
