"""Work that is given to a worker process: it is done though workers die and the database goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from backend.store.database import patiently
from domain.errors import AlphaPulseError, UsageError, in_one_line
from domain.ports import Clock, Executor

ATTEMPTS: Final = 3  # of work whose worker dies

Order = TypeVar("Order")
T = TypeVar("T")


class NotDoneError(AlphaPulseError):
    """Work that cannot be done; one line says why."""


async def given(executor: Executor, wall: Clock, work: Callable[[Order], T], order: Order) -> T:
    """What a worker process makes of an order.

    Args:
        executor: of the processes.
        wall: of waits for the database: where a worker cannot read, it is asked again.
        work: raises StoreUnavailableError where the database is away.
        order: what it is to read.

    Raises:
        NotDoneError: it cannot be done, or three workers died of it.
    """

    async def attempt() -> T:
        words = ""
        for _ in range(ATTEMPTS):
            try:
                return await asyncio.wrap_future(executor.submit(work, order))
            except BrokenProcessPool as error:  # its worker died: another takes the work
                words = in_one_line(error)
            except (ValueError, UsageError, OSError) as error:
                raise NotDoneError(in_one_line(error)) from error
        raise NotDoneError(words)

    return await patiently(attempt, wall)
