"""A process's share of the panels: taken by lease, run, and handed on when there are others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

import asyncpg

from backend.agreed import fingerprint
from backend.api.status import Status
from backend.garbage import settle
from backend.hosting import Host, Hosted
from backend.hung import Hung
from backend.panel import PanelKey
from backend.panel_jobs import ANY_TIME, panel_jobs
from backend.seating import Seating
from backend.store import open_panels
from backend.store.database import patiently
from backend.store.leases import Fence, Lease, Leases
from backend.store.open_panels import OpenPanel
from backend.store.registry import Registry
from backend.store.runs import Runs
from backend.store.system_status import StatusStore, panel_voice
from backend.told_status import keep_telling, spelled
from backend.wiring import Store
from domain.errors import LeaseLostError, StoreUnavailableError, TickFailedError
from domain.market import Instrument, Listing
from domain.ports import EventBus
from domain.topics import panel_key

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.5  # wall


@dataclass(slots=True, kw_only=True)
class _Running:
    opening: int
    task: asyncio.Task[None]


@dataclass(slots=True, kw_only=True)
class Worker:
    """Runs panels that no other process runs.

    A panel whose history was fetched anew is begun anew: what was stored beside its ticks is then
    part of it.

    Args:
        host: of its panels; the store's recorder is fenced for each.
        leases: of this process.
        bus: brings the ticks.
    """

    host: Host
    leases: Leases
    bus: EventBus
    _running: dict[PanelKey, _Running] = field(default_factory=dict)
    _hung: Hung = field(init=False)

    def __post_init__(self) -> None:
        self._hung = Hung(self.leases, self.host.store.readers)

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            StoreUnavailableError: the leases are lost, and the panels with them.
            CONNECTION_ERRORS: the database cannot be asked which panels there are, or who
                lives; the leases are left with them.
        """
        await self.leases.join()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._look(tasks)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        """Leave what is not ours to run any more, and take what is free, up to an even share."""
        wanted = {
            PanelKey(exchange=one.exchange, timeframe=one.timeframe): one
            for one in await open_panels.opened(self.host.store.readers)
        }
        for key, running in tuple(self._running.items()):
            if key not in wanted or wanted[key].opening != running.opening or running.task.done():
                await self._leave(key)
        others = [key for key in wanted if key not in self._running]
        await self._hung.look([_voice(key) for key in others])
        share = -(-len(wanted) // max(await self.leases.workers(), 1))
        if len(self._running) > share:
            await self._leave(next(reversed(self._running)))
        for key, opened in wanted.items():
            if len(self._running) < share and key not in self._running:
                await self._try(tasks, key, opened)

    async def _try(self, tasks: asyncio.TaskGroup, key: PanelKey, opened: OpenPanel) -> None:
        lease = await self.leases.take(_voice(key))
        if lease is not None:
            log.info("takes %s", lease.name, extra={"generation": lease.generation})
            task = tasks.create_task(self._run(key, lease, opened.opening))
            self._running[key] = _Running(opening=opened.opening, task=task)

    async def _leave(self, key: PanelKey) -> None:
        running = self._running.pop(key)
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)

    async def _run(self, key: PanelKey, lease: Lease, opening: int) -> None:
        """One panel, until cancelled, begun anew, or taken by another process."""
        try:
            await self._serve(key, lease, opening)
        except* TickFailedError:
            log.warning("%s begins anew", lease.name)  # whoever takes it; the others go on
        except* LeaseLostError:
            log.warning("%s is left to whoever takes it now", lease.name)
        finally:
            with contextlib.suppress(StoreUnavailableError):  # then it is given back already
                await self.leases.give_back(lease)

    async def _serve(self, key: PanelKey, lease: Lease, opening: int) -> None:
        host, plan = self.host, self.host.plan
        store = self._fenced(key, lease)
        listings, joined = await self._watched(key.exchange)
        status = Status(
            market=plan.market,
            speed=plan.speed,
            horizons=plan.horizons,
            instruments=tuple(listings),
            timeframes=(key.timeframe,),
        )
        alone = replace(host, store=store, status=status, fence=lease.fence)
        await alone.recall(key.timeframe, tuple(listings))  # who had it before has predicted them
        ours: list[Hosted] = []
        kept = StatusStore(store.writers, lease.name)
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(
                keep_telling(
                    kept,
                    status,
                    lambda: spelled(
                        status,
                        weights=Seating(ours).weights(),
                        process=self.leases.holder,
                        settings=fingerprint(host.settings, self.bus.cluster),
                    ),
                    plan.clock,
                )
            )
            hosted = await alone.open(key, listings, joined)
            ours.append(hosted)
            settle()
            try:
                async with asyncio.TaskGroup() as panel:
                    works = (
                        hosted.observer.revisions.run(),
                        hosted.observer.refused(),
                        panel_jobs(alone, hosted).run(),
                    )
                    beside = [panel.create_task(work) for work in works]
                    opened = partial(self._opening, key)
                    await hosted.follow(self.bus, asyncio.Event(), opening, opened)
                    for task in beside:
                        task.cancel()
            finally:
                await hosted.close()
                telling.cancel()

    async def _opening(self, key: PanelKey) -> int:
        """The newest that was announced of a panel; −1: there is no such panel any more."""
        read = partial(open_panels.opened, self.host.store.readers)
        found = await patiently(read, self.host.wall)
        this = (key.exchange, key.timeframe)
        return max((one.opening for one in found if one[:2] == this), default=-1)

    def _fenced(self, key: PanelKey, lease: Lease) -> Store:
        """What is committed, and decided of models, only as long as the lease is ours."""
        store = self.host.store
        return replace(
            store,
            recorder=store.recorder.fenced(self._fence(key, lease)),
            registry=Registry(store.writers, lease.fence),
            runs=Runs(store.writers, lease.fence),
        )

    def _fence(self, key: PanelKey, lease: Lease) -> Fence:
        async def fence(connection: asyncpg.Connection) -> None:
            await lease.fence(connection)
            await self.host.hearing.fence(key, connection)

        return fence

    async def _watched(
        self, exchange: str
    ) -> tuple[Mapping[Instrument, Listing], Mapping[Instrument, datetime | None]]:
        """What is watched of an exchange, and all that ever was, by whoever collects it."""
        book = self.host.store.instruments
        listings = {
            one.instrument: one
            for one in await book.watched(ANY_TIME)
            if one.instrument.exchange == exchange
        }
        return listings, (await book.membership(exchange)).joined


def _voice(key: PanelKey) -> str:
    return panel_voice(panel_key(key.exchange, key.timeframe))
