"""Orders of a command: entered where the processes of the system that is named look for them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from backend.api.problems import KINDS, from_usage
from backend.clock import ExchangeClock, SystemClock
from backend.orders import Orders
from backend.settings import Settings
from backend.store.audit import Act, AuditLog
from backend.store.database import patiently
from backend.store.job_parts import Part, refusal
from backend.store.jobs import Asked, JobStore, Order, TooManyJobsError
from backend.store.state import StateFolder
from backend.store.system_status import hear
from backend.told_status import LOST_AFTER_S
from backend.upkeep import store_of
from backend.wiring import Store
from domain.errors import AlphaPulseError, StateFolderError, StoreUnavailableError, UsageError

COMMAND: Final = "command"  # the caller
ENTERED: Final = 202
MISTAKES: Final = range(400, 500)
AWAY_AT_MOST_S: Final = 60.0  # the database, while an order is entered


class OrderRefusedError(AlphaPulseError):
    """The running system cannot do what was asked."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Takes the orders of one command."""

    store: Store
    orders: Orders

    async def order(self, kind: str, request: Mapping[str, Any]) -> Asked:
        """Enter an order, and in the audit log that it was given.

        Raises:
            UsageError: it is about nothing that there is.
            StoreUnavailableError: the database was away too long; it may be entered.
        """
        log, clock = AuditLog(self.store.writers), SystemClock()
        about = " ".join(map(str, request.values()))
        act = Act(caller=COMMAND, address="", action=kind, path=about)
        number = await log.begin(act, at=clock.now())

        async def end(outcome: int) -> None:
            await patiently(partial(log.end, number, outcome, at=clock.now()), clock)

        # One whose answer is lost is asked for again, under the same name.
        order = Order(kind=kind, request=request, caller=COMMAND, key=str(uuid.uuid4()))
        try:
            async with asyncio.timeout(AWAY_AT_MOST_S):
                asked = await patiently(partial(self.orders.ask, order), clock)
                await end(ENTERED)
                return asked
        except TimeoutError:
            raise StoreUnavailableError(
                f"the database was away for {AWAY_AT_MOST_S:.0f} s; `alphapulse jobs list` tells"
                " whether the order was entered"
            ) from None
        except UsageError as error:
            await end(from_usage(error).status)
            raise
        except TooManyJobsError:
            await end(KINDS["too_many_jobs"].status)
            raise

    async def parts(self, asked: Asked, *, within_s: float) -> Sequence[Part]:
        """How far its owners are, as soon as all have ended, or after a while.

        Raises:
            UsageError: it is a mistake.
            OrderRefusedError: nobody could do it.
        """
        parts = await self.orders.parts(asked, within_s=within_s)
        if (refused := refusal(parts)) is not None:
            mistake = KINDS[refused["code"]].status in MISTAKES
            raise (UsageError if mistake else OrderRefusedError)(refused["detail"])
        return parts


@asynccontextmanager
async def audited(store: Store, action: str, about: str) -> AsyncIterator[None]:
    """Enter in the audit log what a command does within, and whether it was a mistake."""
    log, clock = AuditLog(store.writers), SystemClock()
    act = Act(caller=COMMAND, address="", action=action, path=about)
    number, outcome = await log.begin(act, at=clock.now()), ENTERED
    try:
        yield
    except UsageError as error:
        outcome = from_usage(error).status
        raise
    finally:
        await log.end(number, outcome, at=clock.now())


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
