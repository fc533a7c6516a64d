"""A system that takes orders: its work is done when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from backend.api.status import Status
from backend.jobs import Bell, JobFailedError, Jobs, Note, Outcome, Work
from backend.orders import Orders
from backend.store.jobs import Job, JobStore
from backend.store.registry import Registry
from backend.store.system_status import SYSTEM, Told
from backend.told_status import spelled
from domain.errors import StoreUnavailableError
from tests.doubles import START, Impatient, ManualClock
from tests.factories import ETH, SOL
from tests.served_market import ServedMarket

RESULT = [{"timeframe": "1h", "missing": 3, "filled": 2, "not_there": 1}]
PANEL, COLLECTORS = "panel simulated|1h", "collectors of simulated"
BUGGY, GONE = ETH.symbol, SOL.symbol


@dataclass
class Errand:
    """Work that is done when the test says so."""

    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    taken: list[Job] = field(default_factory=list)
    bugs: int = 0  # that a job of `BUGGY` meets yet
    lost: int = 0  # connections that are lost on the way

    async def do(self, job: Job, note: Note) -> Outcome:
        self.taken.append(job)
        await note({"done": 0, "total": 3})
        await self.may_end.wait()
        if self.lost:
            self.lost -= 1
            gone = asyncpg.InternalClientError("the connection was closed")
            raise ExceptionGroup("of tasks", [gone, StoreUnavailableError("it is away")])
        if job.request.get("symbol") == BUGGY and self.bugs:
            self.bugs -= 1
            raise KeyError("a bug")
        if job.request.get("symbol") == GONE:
            raise JobFailedError(f"{GONE} left\nbefore all was known")
        return Outcome(result=RESULT, detail="half of it")


@dataclass
class Office:
    """Orders of a market's server, and what does them while it is open.

    Args:
        market: is served.
        work: by owner and kind.
        beside: what further processes say of themselves.
    """

    market: ServedMarket
    work: Mapping[str, Mapping[str, Work]]
    beside: Mapping[str, Status] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store, self.bell = (
            JobStore(self.market.pool),
            Bell(JobStore(self.market.pool), ManualClock()),
        )
        self.orders = Orders(
            self.store,
            Registry(self.market.pool),
            heard=self._heard,
            clock=self.market.clock,
            ring=self.bell.ring,
        )
        self.market.state.orders = self.orders

    def _heard(self) -> list[Told]:
        every = {SYSTEM: self.market.state.status, **self.beside}
        return [Told(name, spelled(status), START, 0.0) for name, status in every.items()]

    def open(self) -> None:
        for owner, work in self.work.items():
            jobs = Jobs(
                self.store,
                owner,
                [work],
                bell=self.bell,
                clock=self.market.clock,
                wall=Impatient(),
            )
            self._tasks.append(asyncio.create_task(jobs.run()))

    async def close(self) -> None:
        """As a stop does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


def errands(errand: Errand) -> dict[str, dict[str, Work]]:
    """One piece of work for whatever takes its time."""
    return {PANEL: {"retrain": errand}, COLLECTORS: {"backfill": errand}}
