"""Orders of a command: entered where the processes of the system that is named look for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from backend.api.problems import KINDS, from_usage
from backend.clock import ExchangeClock, SystemClock
from backend.orders import Orders
from backend.settings import Settings
from backend.store.audit import Act, AuditLog
from backend.store.job_parts import Part, refusal
from backend.store.jobs import JobStore, Order
from backend.store.state import StateFolder
from backend.store.system_status import hear
from backend.told_status import LOST_AFTER_S
from backend.upkeep import store_of
from backend.wiring import Store
from domain.errors import AlphaPulseError, StateFolderError, UsageError

COMMAND: Final = "command"  # the caller
ENTERED: Final = 202
MISTAKES: Final = range(400, 500)


class OrderRefusedError(AlphaPulseError):
    """The running system cannot do what was asked."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Takes the orders of one command."""

    store: Store
    orders: Orders

    async def order(self, kind: str, request: Mapping[str, Any]) -> str:
        """Enter an order, and in the audit log that it was given; the id of its job.

        Raises:
            UsageError: it is about nothing that there is.
        """
        log, clock = AuditLog(self.store.writers), SystemClock()
        about = " ".join(map(str, request.values()))
        act = Act(caller=COMMAND, address="", action=kind, path=about)
        number, outcome = await log.begin(act, at=clock.now()), ENTERED
        try:
            order = Order(kind=kind, request=request, caller=COMMAND, key=None)
            return str((await self.orders.ask(order)).row["id"])
        except UsageError as error:
            outcome = from_usage(error).status
            raise
        finally:
            await log.end(number, outcome, at=clock.now())

    async def parts(self, job: str, *, within_s: float) -> list[Part]:
        """How far its owners are, as soon as all have ended, or after a while.

        Raises:
            UsageError: it is a mistake.
            OrderRefusedError: nobody could do it.
        """
        parts = await self.orders.parts(job, within_s=within_s)
        if (refused := refusal(parts)) is not None:
            mistake = KINDS[refused["code"]].status in MISTAKES
            raise (UsageError if mistake else OrderRefusedError)(refused["detail"])
        return parts


@asynccontextmanager
async def ordering(settings: Settings) -> AsyncIterator[Desk]:
    """Orders to the system that runs on a state folder, or over the database that is named.

    Raises:
        StateFolderError: none does.
    """
    if settings.database_url is None and StateFolder(settings.state).attach() is None:
        raise StateFolderError(f"no system runs on the state folder {settings.state}")
    async with store_of(settings) as store:
        heard = await hear(store.readers)
        last = min(heard, key=lambda one: one.silent_s, default=None)
        if last is None or last.silent_s >= LOST_AFTER_S:
            raise StateFolderError("no system runs over this database")
        clock = ExchangeClock(last.now, speed=last.told["speed"])
        orders = Orders(JobStore(store.writers), store.registry, heard=lambda: heard, clock=clock)
        yield Desk(store, orders)
