"""Rooms that run apart: what this process of a system collects, predicts and serves."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from backend.agreed import fingerprint
from backend.api.state import ApiState
from backend.api.status import Status
from backend.asking import Asking
from backend.background import Rounds
from backend.brokers import refuse_without_kafka
from backend.chores import chores
from backend.clock import SystemClock
from backend.devices import refuse_absent
from backend.executor import ProcessExecutor
from backend.feed import Feed, no_hold
from backend.following import Following
from backend.hearing import Hearing
from backend.hosting import Host
from backend.hung import Hung
from backend.jobs import Bell
from backend.joining import exchange_jobs
from backend.live import beside_plan, live_plan
from backend.notify.channels import open_channels
from backend.notify.notifications import notifications_of
from backend.plugin_checks import admit
from backend.plugins import catalogue_of
from backend.replica import Duties, database_beside, run_replica
from backend.rooms import Room
from backend.runner import Lane
from backend.settings import Settings
from backend.store.database import CONNECTION_ERRORS
from backend.store.jobs import JobStore
from backend.store.leases import Lease, Leases, open_leases
from backend.store.open_panels import opened
from backend.store.state import StateFolder
from backend.store.system_status import (
    SOURCES,
    StatusStore,
    collectors_voice,
    forget_gone,
    panel_voice,
)
from backend.store.told import RECALLED
from backend.system_plan import SystemPlan
from backend.told_status import keep_telling, spelled
from backend.unasked import Unasked
from backend.wiring import Store, open_bus, open_store, readable_sets
from backend.worker import LOOK_EVERY_S, Worker
from domain.errors import LeaseLostError, UsageError, in_one_line
from domain.ports import EventBus
from domain.topics import panel_key

log = logging.getLogger(__name__)

HOUSE: Final = "house"  # lease of what is done once for a database
LOST: Final = (LeaseLostError, *CONNECTION_ERRORS)  # leases, with the store
AGAIN_S: Final = 1.0  # wall, until leases that were lost are asked for again
WELL_AFTER_S: Final = 60.0  # of work, behind which the same reason is told again
FORGET_EVERY_S: Final = 5.0  # wall


async def run_apart(
    settings: Settings, rooms: frozenset[Room], *, allow_no_keys: bool = False
) -> None:
    """Run these rooms until interrupted.

    Raises:
        UsageError: they lack a database, or a road between them.
        Others: as `run_replica`, `live_plan`, `admit`.
    """
    if settings.database_url is None:
        raise UsageError("rooms that run apart share a database: set ALPHAPULSE_DATABASE_URL")
    if not settings.bus_url:
        raise UsageError(
            "rooms that run apart need a road between them: set ALPHAPULSE_BUS_URL"
            " (kafka://host:9092)"
        )
    await admit(settings)
    readable_sets(settings)
    await refuse_absent(settings)
    refuse_without_kafka(settings)
    async with AsyncExitStack() as stack:
        collects = Room.COLLECTORS in rooms
        plan = await (live_plan if collects else beside_plan)(settings, stack)
        bus = await stack.enter_async_context(open_bus(settings, plan.pace()))
        duties = Duties(
            pushes=Room.API in rooms,
            work=lambda api: _work(plan, settings, rooms, bus, api),
            said=f"this process runs {', '.join(sorted(rooms))} of a system",
            ours=None if rooms == {Room.API} else (_holder(), fingerprint(settings)),
        )
        await run_replica(settings, duties, allow_no_keys=allow_no_keys)


def _holder() -> str:
    """The name of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def _work(
    plan: SystemPlan, settings: Settings, rooms: frozenset[Room], bus: EventBus, api: ApiState
) -> None:
    """The rooms of this process, again and again after the database was away."""
    url, folder = database_beside(settings), StateFolder(settings.state)
    folder.open()
    said = ""
    while True:
        began = time.monotonic()
        try:
            async with AsyncExitStack() as stack:
                kinds = catalogue_of(settings.plugins)
                artifacts = folder.path / "artifacts"
                store = await stack.enter_async_context(open_store(url, artifacts, kinds))
                leases = await stack.enter_async_context(open_leases(url, _holder()))
                await leases.enter(alone=False)
                if rooms != {Room.API}:
                    await leases.go_by(settings.clock)
                executor = ProcessExecutor(workers=1)
                stack.callback(executor.close)
                apart = Apart(
                    plan=plan,
                    settings=settings,
                    rooms=rooms,
                    store=store,
                    leases=leases,
                    bus=bus,
                    executor=executor,
                    api=api,
                )
                await apart.run()
        except* LOST as errors:
            reason = in_one_line(errors)
            if reason != said or time.monotonic() - began > WELL_AFTER_S:
                log.warning("waiting for the database", extra={"reason": reason})
            said = reason
        await asyncio.sleep(AGAIN_S)


@dataclass(slots=True, kw_only=True)
class Apart:
    """The rooms of one process, as long as it has its leases.

    Args:
        plan, settings, rooms: what the process was asked.
        store, leases, bus, executor: its parts.
        api: knows what all processes say.
    """

    plan: SystemPlan
    settings: Settings
    rooms: frozenset[Room]
    store: Store
    leases: Leases
    bus: EventBus
    executor: ProcessExecutor
    api: ApiState
    _lane: Lane = field(default_factory=Lane)
    _bell: Bell = field(init=False)

    def __post_init__(self) -> None:
        self._bell = Bell(JobStore(self.store.writers), SystemClock())

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            StoreUnavailableError: the leases are lost.
        """
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hold())
            tasks.create_task(self._bell.run())
            if Room.COLLECTORS in self.rooms:
                notes = Status(market=self.plan.market)
                for feed in await self.plan.connect(self.store, notes, stack):
                    tasks.create_task(self._collect(feed, notes))
                tasks.create_task(self._collect_later(notes))
                tasks.create_task(self._ask())
            if Room.PANELS in self.rooms:
                hearing = await self._hearing()
                tasks.create_task(hearing.run())
                tasks.create_task(self._worker(hearing).run())
                tasks.create_task(self._keep_house())

    async def _hold(self) -> None:
        """See that the leases are ours still."""
        while True:
            await self.leases.workers()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _had(self, name: str) -> Lease:
        """Wait until no other process has it."""
        hung = Hung(self.leases, self.store.readers)
        while (lease := await self.leases.take(name)) is None:
            await hung.look([name])
            await asyncio.sleep(LOOK_EVERY_S)
        return lease

    async def _collect(self, feed: Feed, notes: Status) -> None:
        """One exchange, for all workers, when no other process does."""
        exchange_id = feed.exchange.id
        lease = await self._had(collectors_voice(exchange_id))
        log.info("takes %s", lease.name, extra={"generation": lease.generation})
        status = Status(
            market=self.plan.market,
            speed=self.plan.speed,
            horizons=self.plan.horizons,
            instruments=feed.instruments,
            timeframes=feed.timeframes,
            notes=notes.notes,
        )
        following = Following(
            feed=feed,
            plan=self.plan,
            settings=self.settings,
            store=self.store,
            status=status,
            publish=_to_nobody,
            bus=self.bus,
            host=None,
        )
        status.away = lambda: self._away(following)
        kept = StatusStore(self.store.writers, lease.name)
        async with asyncio.TaskGroup() as tasks:
            told = partial(self._told, status)
            tasks.create_task(keep_telling(kept, status, told, self.plan.clock))
            tasks.create_task(following.run())
            await following.live.wait()
            jobs = await exchange_jobs(following, self._bell, lease.fence)
            tasks.create_task(jobs.run())

    def _told(self, status: Status) -> dict[str, Any]:
        settings = fingerprint(self.settings, self.bus.cluster)
        return spelled(status, process=self.leases.holder, settings=settings)

    async def _collect_later(self, notes: Status) -> None:
        """Exchanges that were away at the start, as they come to answer."""
        if self.plan.later is None:
            return
        async with asyncio.TaskGroup() as tasks:
            async for feed in self.plan.later(notes):
                tasks.create_task(self._collect(feed, notes))

    def _away(self, following: Following) -> Mapping[str, str]:
        exchange_id, lost = following.feed.exchange.id, following.edge.lost
        here = {exchange_id: f"{exchange_id}: no connection ({lost})"} if lost else {}
        return {**self.plan.refused, **here}

    async def _ask(self) -> None:
        """The sources, for all workers, when no other process does."""
        while True:
            lease = await self._had(SOURCES)
            log.info("takes %s", lease.name, extra={"generation": lease.generation})
            asking = Asking(
                plan=self.plan,
                store=replace(self.store, sources=self.store.sources.fenced(lease.fence)),
                told=self._told,
            )
            try:
                await asking.run()
            except* LeaseLostError:
                log.warning("%s: another process asks them now", lease.name)
            await asyncio.sleep(AGAIN_S)

    async def _hearing(self) -> Hearing:
        clock, wall = self.plan.clock, SystemClock()
        hearing = Hearing(store=self.store, clock=clock, wall=wall, alone=False)
        await hearing.begin()
        hearing.told.settle(keep=RECALLED)
        return hearing

    def _worker(self, hearing: Hearing) -> Worker:
        host = Host(
            plan=self.plan,
            settings=self.settings,
            store=self.store,
            status=Status(market=self.plan.market),  # each panel has its own
            publish=_to_nobody,  # whoever serves follows the log
            executor=self.executor,
            lane=self._lane,
            hearing=hearing,
            wall=SystemClock(),
            hold=no_hold,  # others go by the clock too
            bell=self._bell,
        )
        return Worker(host=host, leases=self.leases, bus=self.bus)

    async def _keep_house(self) -> None:
        """What is done once for a database, when no other process does."""
        await self._had(HOUSE)
        pace = self.plan.pace()
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            channels = await stack.enter_async_context(
                open_channels(self.settings.notify, SystemClock())
            )
            notifications = await stack.enter_async_context(
                notifications_of(
                    self.settings.notify,
                    channels,
                    url=self.store.url,
                    status=self.api.status,
                    pace=pace,
                    free=self._lane.free,
                )
            )
            tasks.create_task(notifications.run())
            tasks.create_task(self._forget())
            tasks.create_task(self._look_after_sources())
            status = self.api.status
            for chore in chores(self.settings, self.store, pace, self._lane.free, status):
                tasks.create_task(chore)

    async def _look_after_sources(self) -> None:
        unasked = Unasked(store=self.store, leases=self.leases, clock=self.plan.clock)
        with Rounds("the look after sources that nobody asks") as look:
            while True:
                with look.going_on(but=LOST):
                    await unasked.look()
                await asyncio.sleep(FORGET_EVERY_S)

    async def _forget(self) -> None:
        """Panels that there are no more say nothing of themselves."""
        with Rounds("the forgetting of panels that are gone") as work:
            while True:
                with work.going_on(but=LOST):
                    names = [
                        panel_voice(panel_key(one.exchange, one.timeframe))
                        for one in await opened(self.store.readers)
                    ]
                    await forget_gone(self.store.writers, names)
                await asyncio.sleep(FORGET_EVERY_S)


def _to_nobody(events: object) -> None:
    del events
