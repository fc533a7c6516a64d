"""Everything that happened at a tick becomes one transaction; then it may be told.

A commit is tried as what it nearly always is, rows that nobody has stored before, copied
straight into their tables. Where that is not so (a repetition, a revision, a row that a
table refuses) the transaction is rolled back and done again by comparison, row for row
where it must be. Both ways leave the same record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import asyncpg
import orjson

from backend.store import snapshots
from backend.store.commit import compare, copy_new
from backend.store.database import CONNECTION_ERRORS, why_away
from backend.store.instruments import Instruments
from backend.store.leases import Fence, no_fence
from backend.store.quarantine import REFUSALS
from backend.store.score_days import PastDays
from backend.store.snapshots import Snapshot
from backend.store.stream_log import Extension, StreamEvent, StreamLog
from backend.store.writes import Planner, Write
from domain.errors import StoreUnavailableError
from domain.events import Candle
from domain.market import Instrument, Timeframe

_CROSS_SECTION: Final = """
INSERT INTO cross_sections (exchange, timeframe, as_of, members, arrived_at, deadline, stage_us)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (exchange, timeframe, as_of) DO NOTHING
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossSection:
    """Who was compared with whom at a close time, and how long each stage took."""

    exchange: str
    timeframe: Timeframe
    as_of: datetime
    instruments: tuple[Instrument, ...]
    arrived_at: datetime  # of the first candle
    deadline: bool  # drawn because time was up
    stage_us: dict[str, int]


class Recorder:
    """Writes the events of the rooms and the stream log; one for a process, or for a lease."""

    def __init__(self, pool: asyncpg.Pool, instruments: Instruments) -> None:
        self._pool = pool
        self._instruments = instruments
        self._planner = Planner(instruments)
        self._log = StreamLog()
        self._past_days = PastDays()
        self._fence: Fence = no_fence

    def fenced(self, fence: Fence) -> Recorder:
        """One whose commits `fence` may refuse, on the same connections."""
        ours = copy(self)
        ours._fence, ours._past_days = fence, PastDays()  # noqa: SLF001 - a copy of ourselves
        return ours

    async def commit_tick(
        self,
        events: Sequence[object],
        *,
        published_at: datetime,
        versions: Sequence[Candle] | None = None,
        cross_section: CrossSection | None = None,
        state: Sequence[Snapshot] = (),
    ) -> list[StreamEvent]:
        """Commit a tick durably: rows, cross-section, states, stream log and heads.

        Args:
            events: CandleBatch, FeatureBatch, champions' PredictionBatch and SignalBatch,
                of one tick or of several in their order.
            published_at: when the commit began, at each try; not before `events` were made.
            versions: the candles as they were told; None: the batches are all there is;
                empty: `store_candles` has stored them already.
            cross_section: drawn at this tick.
            state: what the rooms know after it.

        Returns:
            What subscribers are to be told, in the order of `events`. A repetition of
            what is stored tells nothing.

        Raises:
            StoreUnavailableError: no connection; the same call may be made again.
            LeaseLostError: of a fence; nothing is committed.
        """

        async def more(connection: asyncpg.Connection) -> None:
            if cross_section is not None:
                await self._write_cross_section(connection, cross_section)
            await snapshots.save(connection, state)

        return await self._commit(events, versions, published_at, more)

    async def commit_learning(
        self,
        events: Sequence[object],
        *,
        published_at: datetime,
        state: Sequence[Snapshot] = (),
    ) -> list[StreamEvent]:
        """Commit what follows a tick durably.

        Args:
            events: members' and challengers' PredictionBatch, LabelBatch, OutcomeBatch,
                Skill and ModelEvent.
            published_at: when the commit began, at each try; not before `events` were made.
            state: what the rooms know after it.

        Returns:
            The events of the stream `models`.

        Raises:
            StoreUnavailableError: no connection; the same call may be made again.
        """

        async def more(connection: asyncpg.Connection) -> None:
            await snapshots.save(connection, state)

        return await self._commit(events, None, published_at, more)

    async def _commit(
        self,
        events: Sequence[object],
        versions: Sequence[Candle] | None,
        published_at: datetime,
        more: Callable[[asyncpg.Connection], Awaitable[None]],
    ) -> list[StreamEvent]:
        async def last(connection: asyncpg.Connection) -> None:
            await self._past_days.forget(connection, events)
            await more(connection)

        try:
            work = await self._planner.plan(events, versions, published_at)
            async with self._pool.acquire() as connection:
                told = await self._attempt(connection, work, published_at, last)
        except CONNECTION_ERRORS as error:
            raise StoreUnavailableError(f"the database is gone: {why_away(error)}") from error
        self._past_days.written(events)
        return told

    async def _attempt(
        self,
        connection: asyncpg.Connection,
        work: list[Write],
        published_at: datetime,
        more: Callable[[asyncpg.Connection], Awaitable[None]],
    ) -> list[StreamEvent]:
        async def write(extension: Extension, *, comparing: bool) -> None:
            await self._fence(connection)
            if comparing:
                await compare(connection, work, extension.add, received_at=published_at)
            else:
                await copy_new(connection, work, extension.add)
            await extension.write(connection)
            await more(connection)

        streams = [one.streams for one in work if one.streams]
        append = partial(
            self._log.append,
            connection,
            streams,
            turns={one.turn for one in work},
            published_at=published_at,
        )
        try:
            return await append(partial(write, comparing=False))
        except (asyncpg.UniqueViolationError, *REFUSALS):
            return await append(partial(write, comparing=True))

    async def _write_cross_section(
        self, connection: asyncpg.Connection, drawn: CrossSection
    ) -> None:
        members = await self._instruments.ids(drawn.instruments)
        await connection.execute(
            _CROSS_SECTION,
            drawn.exchange,
            drawn.timeframe.value,
            drawn.as_of,
            members.tolist(),
            drawn.arrived_at,
            drawn.deadline,
            orjson.dumps(drawn.stage_us).decode(),
        )
