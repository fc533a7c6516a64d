"""The running system: page first, then store, exchanges, history, and the live edge."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from backend.api.server import listen
from backend.api.state import ApiState
from backend.api.status import Status
from backend.api.tls import certificate
from backend.api.watch import look
from backend.brokers import refuse_without_kafka
from backend.chores import chores
from backend.clock import SystemClock
from backend.devices import refuse_absent
from backend.executor import ProcessExecutor
from backend.feed import Feed
from backend.following import Following
from backend.garbage import settle
from backend.hearing import Hearing
from backend.hosting import Host, Hosted
from backend.jobs import Bell
from backend.joining import exchange_jobs
from backend.mirror import Mirror, MirrorOrder
from backend.notify.channels import open_channels
from backend.notify.notifications import Notifications, notifications_of
from backend.orders import Orders
from backend.plugin_checks import admit
from backend.plugins import catalogue_of
from backend.readiness import Start
from backend.runner import Lane
from backend.seating import Seating
from backend.served import api_of, refuse_keyless, say, served, stand_on, until_signalled
from backend.settings import Settings
from backend.sources import Collection
from backend.store.database import patiently
from backend.store.jobs import JobStore
from backend.store.leases import open_leases
from backend.store.state import Runtime, StateFolder
from backend.store.system_status import SYSTEM, StatusStore, Told, keep_only
from backend.system_plan import SystemPlan
from backend.told_status import keep_telling, spelled
from backend.wiring import Store, database_of, open_bus, open_store, readable_sets
from domain.ports import Channel

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1  # wall seconds, whether all is predicted


async def run_system(plan: SystemPlan, settings: Settings) -> None:
    """Run until cancelled, interrupted or terminated, or until `stop_after`.

    Raises:
        StateFolderError: another system runs on the state folder.
        UsageError: one runs over the database.
        PortTakenError, UsageError: it cannot be served there, or does not exist; a GPU is asked for
            that is not there; a channel of notifications cannot be; nothing here speaks to brokers.
        ExchangeUnavailableError, StoreUnavailableError: at the start.
        UnknownPluginError, PluginError: one that is switched on is not there, or not fit to serve.
        NotReadyError: no prediction of all instruments of any exchange in time.
    """
    folder = StateFolder(settings.state)
    folder.refuse_second()  # before a port of the first is found to be in use
    await admit(settings)
    readable_sets(settings)
    await refuse_absent(settings)
    refuse_without_kafka(settings)
    shown = certificate(settings.api.tls_cert, settings.api.tls_key)
    await refuse_keyless(settings, allow_no_keys=plan.allow_no_keys)
    listener = listen(settings.host, settings.port)
    with folder.owned(), until_signalled():
        host, port = listener.getsockname()[:2]
        status = Status(market=plan.market, speed=plan.speed, horizons=plan.horizons)
        token = secrets.token_urlsafe()
        api = api_of(settings, plan.clock, status, allow_no_keys=plan.allow_no_keys, token=token)
        async with AsyncExitStack() as stack:
            channels = await stack.enter_async_context(
                open_channels(settings.notify, SystemClock())
            )
            await stack.enter_async_context(served(api, listener, shown))
            status.report("database", 0, 1)
            watch = await stack.enter_async_context(asyncio.TaskGroup())
            url = await stack.enter_async_context(database_of(settings, watch))
            if settings.database_url is not None:  # another folder's system may be there
                leases = await stack.enter_async_context(open_leases(url, f"{host}:{port}"))
                await leases.enter(alone=True)
            kinds = catalogue_of(settings.plugins)
            ours = settings.database_url is None
            store = await stack.enter_async_context(
                open_store(url, folder.path / "artifacts", kinds, waits=ours)
            )
            api.models, api.artifacts = kinds.names, store.artifacts
            stand_on(api, store.readers, store.writers)
            stack.push_async_callback(look, api)  # for the last time, before the store is closed
            status.report("database", 1, 1)
            system = System(plan=plan, settings=settings, store=store, api=api, channels=channels)
            folder.publish(
                Runtime(
                    pid=os.getpid(),
                    database_url=url,
                    api_host=host,
                    api_port=port,
                    api_certificate=shown.fingerprint() if shown else None,
                    api_token=token,
                )
            )
            await system.run(stack)


@dataclass(slots=True, kw_only=True)
class System:
    """Feeds, panels and what watches them, once the store is open."""

    plan: SystemPlan
    settings: Settings
    store: Store
    api: ApiState
    channels: Mapping[str, Channel]  # of notifications
    _followings: list[Following] = field(default_factory=list)
    _late: dict[str, str] = field(default_factory=dict)  # exchange → why it is not counted yet
    _watches: list[Hosted] = field(default_factory=list)
    _lane: Lane = field(default_factory=Lane)
    _bell: Bell = field(init=False)

    def __post_init__(self) -> None:
        self._bell = Bell(JobStore(self.store.writers), SystemClock())

    async def run(self, stack: AsyncExitStack) -> None:
        """From connecting to the end."""
        status = self.api.status
        notifications = await stack.enter_async_context(self._notifications())
        self.api.unsent = notifications.unsent
        status.report("exchange", 0, 1)
        feeds = await self.plan.connect(self.store, status, stack)
        status.instruments = tuple(one for feed in feeds for one in feed.instruments)
        status.timeframes = tuple(dict.fromkeys(tf for feed in feeds for tf in feed.timeframes))
        status.away = self._away
        status.report("exchange", 1, 1)
        status.report("sources", 0, 1)
        asked = await self.plan.ask(self.store, status, stack)
        hearing = Hearing(store=self.store, clock=self.plan.clock, wall=SystemClock(), alone=True)
        collection = Collection(asked, store=self.store, clock=self.plan.clock, hearing=hearing)
        await collection.begin()
        status.sources = collection.statuses
        status.report("sources", 1, 1)
        executor = ProcessExecutor(workers=1)
        stack.callback(executor.close)
        bus = await stack.enter_async_context(open_bus(self.settings, self.plan.pace()))
        live: list[asyncio.Task[None]] = []

        def follow(feed: Feed, *, waited_for: bool) -> Following:
            """Follow one more exchange from now on."""
            host = Host(
                plan=self.plan,
                settings=self.settings,
                store=self.store,
                status=status,
                publish=self.api.hub.publish,
                executor=executor,
                lane=self._lane,
                hearing=hearing,
                wall=feed.pace.wall,
                hold=feed.hold,
                bell=self._bell,
            )
            following = Following(
                feed=feed,
                plan=self.plan,
                settings=self.settings,
                store=self.store,
                status=status,
                publish=self.api.hub.publish,
                bus=bus,
                host=host,
                watches=self._watches,
                waited_for=waited_for,
            )
            self._followings.append(following)
            live.append(tasks.create_task(following.run()))
            return following

        try:
            async with asyncio.TaskGroup() as tasks:
                for feed in feeds:
                    follow(feed, waited_for=True)
                beside = (
                    *chores(self.settings, self.store, self.plan.pace(), self._lane.free, status),
                    collection.run(),
                    notifications.run(),
                    self._tell_status(),
                    self._bell.run(),
                )
                live += [tasks.create_task(work) for work in beside]
                if (uri := self.settings.training.mirror) is not None:
                    live.append(tasks.create_task(self._mirror(uri.get_secret_value()).run()))
                try:
                    late = await self._until_ready()
                    for one in self._followings:
                        work = self._welcome if one in late else self._take_orders
                        live.append(tasks.create_task(work(one)))
                    live.append(tasks.create_task(self._take_in_later(follow)))
                    hearing.told.settle()
                    await self._open_for_orders()
                    await self._until_done()
                finally:
                    for task in live:
                        task.cancel()
        finally:
            for hosted in self._watches:
                await hosted.close()
            await collection.close()

    def _notifications(self) -> AbstractAsyncContextManager[Notifications]:
        return notifications_of(
            self.settings.notify,
            self.channels,
            url=self.store.url,
            status=self.api.status,
            pace=self.plan.pace(),
            free=self._lane.free,
        )

    def _mirror(self, uri: str) -> Mirror:
        artifacts = StateFolder(self.settings.state).path / "artifacts"
        order = MirrorOrder(database_url=self.store.url, artifacts=artifacts, uri=uri)
        return Mirror(order=order, pool=self.store.readers)

    async def _open_for_orders(self) -> None:
        def heard() -> list[Told]:
            return [Told(SYSTEM, self._told(), self.plan.clock.now(), 0.0)]

        orders = Orders(
            JobStore(self.store.writers),
            self.store.registry,
            heard=heard,
            clock=self.plan.clock,
            ring=self._bell.ring,
        )
        await patiently(orders.adopt, SystemClock())
        self.api.weights = Seating(self._watches).weights
        self.api.orders = orders

    async def _take_orders(self, following: Following) -> None:
        """Do what callers ask of whoever collects an exchange."""
        await (await exchange_jobs(following, self._bell)).run()

    async def _until_ready(self) -> list[Following]:
        """Until the start is over; the followings that are late."""
        status, now = self.api.status, asyncio.get_running_loop().time
        start = Start(status, now())
        while (late := start.late(now())) is None:  # noqa: ASYNC110 - rooms know nothing of it
            await asyncio.sleep(LOOK_EVERY_S)
        status.instruments = tuple(one for one in status.instruments if one.exchange not in late)
        settle()
        say(f"ready: {len(status.instruments)} instruments, predictions are being published")
        return [one for one in self._followings if one.feed.exchange.id in late]

    async def _take_in_later(self, follow: Callable[..., Following]) -> None:
        """Exchanges that were away at the start, as they come to answer."""
        if self.plan.later is None:
            return
        async with asyncio.TaskGroup() as tasks:
            async for feed in self.plan.later(self.api.status):
                log.info("it answers now", extra={"exchange": feed.exchange.id})
                tasks.create_task(self._welcome(follow(feed, waited_for=False)))

    async def _welcome(self, following: Following) -> None:
        """Count the instruments of an exchange that is late once all of them are predicted."""
        exchange_id = following.feed.exchange.id
        self._late[exchange_id] = f"{exchange_id}: its history is on its way"
        while not self._predicted(following):  # noqa: ASYNC110 - rooms do not know of readiness
            await asyncio.sleep(LOOK_EVERY_S)
        self.api.status.instruments += following.instruments
        del self._late[exchange_id]
        await self._take_orders(following)

    def _predicted(self, following: Following) -> bool:
        newest, timeframes = self.api.status.newest, following.feed.timeframes
        return all((one, each) in newest for one in following.instruments for each in timeframes)

    def _away(self) -> dict[str, str]:
        """Exchange → why nothing comes from it, now."""
        lost = {
            one.feed.exchange.id: f"{one.feed.exchange.id}: no connection ({one.edge.lost})"
            for one in self._followings
            if one.edge.lost
        }
        return {**self.plan.refused, **self._late, **lost}

    async def _until_done(self) -> None:
        await asyncio.sleep(
            self.plan.stop_after.total_seconds() if self.plan.stop_after else float("inf")
        )

    async def _tell_status(self) -> None:
        """Keep what servers beside this one are to say of it, and of nobody else."""
        await patiently(partial(keep_only, self.store.writers, [SYSTEM]), SystemClock())
        kept, status = StatusStore(self.store.writers), self.api.status
        await keep_telling(kept, status, self._told, self.plan.clock)

    def _told(self) -> dict[str, Any]:
        weights = Seating(self._watches).weights()
        return spelled(self.api.status, weights=weights)
