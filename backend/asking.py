"""Sources asked by one process for all workers, and what it says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from backend.api.status import Status
from backend.background import Rounds
from backend.clock import SystemClock
from backend.sources import Collection
from backend.store.database import patiently
from backend.store.system_status import SOURCES, StatusStore
from backend.store.told import EVER
from backend.system_plan import SystemPlan
from backend.told_status import keep_telling
from backend.wiring import Store

LOOK_EVERY_S: Final = 5.0  # wall, at what is watched


@dataclass(slots=True, kw_only=True)
class Asking:
    """Stores what sources tell, as long as the lease is ours.

    Args:
        plan: knows which are asked.
        store: its sources are fenced.
        told: what there is to say of a status.
    """

    plan: SystemPlan
    store: Store
    told: Callable[[Status], Mapping[str, Any]]
    _watched: Status = field(init=False)  # knows what they are asked about

    def __post_init__(self) -> None:
        self._watched = Status(market=self.plan.market)

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            LeaseLostError: another process asks them now.
        """
        status = Status(market=self.plan.market, speed=self.plan.speed)
        kept = StatusStore(self.store.writers, SOURCES)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            told = partial(self.told, status)
            telling = keep_telling(kept, status, told, self.plan.clock)
            tasks.create_task(telling)  # from the first: who says nothing is taken for hung
            await patiently(self._look, SystemClock())
            asked = await self.plan.ask(self.store, self._watched, stack)
            collection = Collection(asked, store=self.store, clock=self.plan.clock)
            await collection.begin()
            status.sources = collection.statuses
            tasks.create_task(self._keep_looking())
            try:
                await collection.run()
            finally:
                await collection.close()

    async def _look(self) -> None:
        listings = await self.store.instruments.watched(EVER)
        self._watched.instruments = tuple(one.instrument for one in listings)

    async def _keep_looking(self) -> None:
        with Rounds("the look at what is watched") as look:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                with look.going_on():
                    await patiently(self._look, SystemClock())
