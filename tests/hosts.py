"""A worker in the process of a test, on a bus that knows who follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from backend.api.status import Market, Status
from backend.asked import Asked
from backend.bus.memory import MemoryBus
from backend.clock import SystemClock
from backend.executor import ProcessExecutor
from backend.feed import no_hold
from backend.hearing import Hearing
from backend.hosting import Host
from backend.jobs import Bell
from backend.runner import Lane
from backend.settings import Settings
from backend.store.jobs import JobStore
from backend.store.leases import Leases
from backend.system_plan import SystemPlan
from backend.wiring import Store
from backend.worker import Worker
from domain.ports import Clock, EventBus, Executor
from domain.topics import Topic

HORIZON = 3


class CountedBus(MemoryBus):
    """Knows how many follow it."""

    followers = 0

    @asynccontextmanager
    async def subscribe(
        self, *topics: Topic, group: str, key: str | None = None
    ) -> AsyncIterator[AsyncIterator[object]]:
        async with super().subscribe(*topics, group=group, key=key) as events:
            self.followers += 1
            try:
                yield events
            finally:
                self.followers -= 1


@asynccontextmanager
async def worker_of(  # noqa: PLR0913 - what a process has of its own
    store: Store,
    leases: Leases,
    bus: EventBus,
    clock: Clock,
    horizons: tuple[int, ...] = (HORIZON,),
    *,
    settings: Settings | None = None,
    fits: Executor | None = None,
) -> AsyncIterator[Worker]:
    """A worker that hears what is stored of sources; its executor ends with the context."""

    async def no_feeds(*_: Any) -> list[Any]:
        return []

    async def no_source(*_: Any) -> Asked:
        return Asked()

    plan = SystemPlan(
        market=Market.RECORDED, horizons=horizons, clock=clock, connect=no_feeds, ask=no_source
    )
    executor = fits or ProcessExecutor()
    hearing = Hearing(store=store, clock=clock, wall=SystemClock(), alone=False)
    await hearing.begin()
    try:
        host = Host(
            plan=plan,
            settings=settings or Settings(),
            store=store,
            status=Status(market=Market.RECORDED),
            publish=lambda events: None,
            executor=executor,
            lane=Lane(),
            hearing=hearing,
            wall=SystemClock(),
            hold=no_hold,
            bell=Bell(JobStore(store.writers), SystemClock()),
        )
        yield Worker(host=host, leases=leases, bus=bus)
    finally:
        executor.close()
