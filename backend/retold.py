"""What sources told by a close, made again from the facts that are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import asyncpg
import numpy as np

from backend.store import told_rows
from backend.store.instruments import Instruments
from backend.store.told import recall
from backend.store.told_rows import ToldClose
from domain.events import Bools, Floats, Ints, SentimentBatch
from services.sentiment.blend import NAME
from services.sentiment.feature_set import REMEMBERED
from services.sentiment.features import SentimentFeatures

CLOSES: Final = 100  # of a sample: the facts of each are read for themselves


async def retold(
    connection: asyncpg.Connection, *, seed: int, since: datetime
) -> AsyncIterator[tuple[ToldClose, SentimentBatch]]:
    """Of a sample of closes what is stored, and what follows from the facts.

    Args:
        connection: in a transaction that sees one state of the record.
        seed: of the sample.
        since: no earlier close.
    """
    instruments = Instruments(connection)
    for close in await told_rows.sample(connection, closes=CLOSES, seed=seed, since=since):
        told, _ = await recall(
            connection,
            instruments,
            since=close.rows.as_of - REMEMBERED,
            until=close.rows.as_of,
            scorer=NAME,
        )
        yield close, _again(told, close)


def unlike(stored: SentimentBatch, values: Floats) -> Bools:
    """Which of the stored values others differ from, to the bit; NaN equals NaN."""
    same = stored.values.view(np.int64) == values.view(np.int64)
    found: Bools = ~(same | (np.isnan(stored.values) & np.isnan(values)))
    return found


def _again(told: SentimentFeatures, close: ToldClose) -> SentimentBatch:
    """Each row by a way that gives it as it is stored; by the first of all where none does."""
    stored = close.rows
    first, *others = close.made
    values = _values(told, stored, first)
    for parts in others:
        wrong = unlike(stored, values).any(axis=1)
        if wrong.any():
            other = _values(told, stored, parts)
            found = wrong & ~unlike(stored, other).any(axis=1)
            values[found] = other[found]
    return replace(told.again(stored), values=values)


def _values(told: SentimentFeatures, stored: SentimentBatch, parts: Sequence[Ints]) -> Floats:
    """The values of rows of which only those of one part are made together."""
    values = np.empty_like(stored.values)
    for rows in parts:
        instruments = tuple(stored.instruments[row] for row in rows.tolist())
        values[rows] = told.again(replace(stored, instruments=instruments)).values
    return values
