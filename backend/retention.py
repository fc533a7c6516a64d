"""While the system runs, old rows are dropped where it is wanted, and packed where it can be."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from backend.background import Rounds
from backend.setting_tables import RetentionSettings
from backend.store import hypertables, retention
from backend.store.database import CONNECTION_ERRORS
from backend.store.feature_retention import Features
from backend.store.member_retention import Members
from backend.store.score_days import groups
from backend.store.server import read_server
from domain.ports import Clock

log = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(hours=1)  # of wall time


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Drops, again and again.

    Args:
        about: the settings.
        relayed: channels of streams that are put on a broker.
        pool: that may write.
        clock: the market's.
        wall: the machine's.
        free: waits while a tick is on its way to subscribers.
    """

    about: RetentionSettings
    relayed: Sequence[str]
    pool: asyncpg.Pool
    clock: Clock
    wall: Clock
    free: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        """Until cancelled."""
        with Rounds("the dropping of old rows") as work:
            while True:
                with work.going_on():
                    await self._sweep_if_it_can()
                await self.wall.sleep(LOOK_EVERY)

    async def _sweep_if_it_can(self) -> None:
        try:
            await self.sweep()
        except CONNECTION_ERRORS as error:
            log.warning("old rows are dropped later", extra={"reason": str(error)})

    async def sweep(self) -> None:
        """Drop all that is too old now, and pack what is not corrected often any more."""
        async with self.pool.acquire() as connection:
            if (before := self._before(self.about.events_days)) is not None:
                for extent in await retention.extents(connection, self.relayed):
                    left: retention.Extent | None = extent
                    while left is not None:
                        await self.free()
                        left = await retention.drop_events(connection, left, before=before)
            if (days := self.about.features_days) is not None:
                await self._drop_features(connection, days)
            if (days := self.about.members_days) is not None:
                await self._drop_members(connection, days)
            if (before := self._before(self.about.quarantine_days)) is not None:
                while await retention.drop_quarantine(connection, before=before):
                    await self.free()
            await self._pack(connection)

    async def _drop_features(self, connection: asyncpg.Connection, days: int) -> None:
        for features in await Features.of_panels(connection):
            before = await features.before(connection, self.clock.now(), days=days)
            while before is not None and await features.drop(connection, before):
                await self.free()

    async def _drop_members(self, connection: asyncpg.Connection, days: int) -> None:
        for group in await groups(connection):
            members = Members(connection, group)
            before = await members.before(self.clock.now(), days=days)
            while before is not None and await members.drop(before):
                await self.free()

    async def _pack(self, connection: asyncpg.Connection) -> None:
        if not (await read_server(connection)).has_columnstore:
            return
        before = self.clock.now() - timedelta(days=self.about.columnstore_days)
        for chunk in await hypertables.chunks_of_rows(connection, before=before):
            await self.free()
            await hypertables.store_as_columns(connection, chunk)

    def _before(self, days: int | None) -> datetime | None:
        return None if days is None else self.clock.now() - timedelta(days=days)
