"""The jobs of a running system: of each kind one after another, and none is lost that was begun."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import asyncpg

from backend.store.database import patiently
from backend.store.jobs import Asked, Job, JobStore, Order
from domain.errors import AlphaPulseError
from domain.ports import Clock

log = logging.getLogger(__name__)

Note = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job came to: JSON values, and a line for people where there is something to say."""

    result: list[dict[str, Any]] | None
    detail: str | None = None


class JobFailedError(AlphaPulseError):
    """A job could not be done; one line says why."""


class Work(Protocol):
    """What is done for one kind of job; done again from its beginning it does no harm."""

    def check(self, request: Mapping[str, Any]) -> None:
        """See that a request can be followed.

        Raises:
            UsageError: it cannot.
        """
        ...

    async def do(self, job: Job, note: Note) -> Outcome:
        """Do it; `note` keeps how far it is, for whoever takes it up again.

        Raises:
            AlphaPulseError: it cannot be done.
        """
        ...


class Jobs:
    """Takes orders, and does them.

    Args:
        store: where they are entered.
        work: what is done, by kind.
        clock: of their times.
        wall: of waits for the database.
    """

    def __init__(
        self, store: JobStore, work: Mapping[str, Work], *, clock: Clock, wall: Clock
    ) -> None:
        self._store = store
        self._work = work
        self._clock = clock
        self._wall = wall
        self._came = {kind: asyncio.Event() for kind in work}

    async def ask(self, order: Order) -> Asked:
        """Enter an order; one that came before under the same key is answered as it was.

        Raises:
            UsageError: it cannot be followed, or its key names another request.
            TooManyJobsError: the caller has as many as may wait.
        """
        if (known := await self._store.find(order)) is not None:
            return known
        self._work[order.kind].check(order.request)
        asked = await self._store.enter(order, at=self._clock.now())
        self._came[order.kind].set()
        return asked

    async def run(self) -> None:
        """Until cancelled; what is cut short is taken up by the next who runs."""
        async with asyncio.TaskGroup() as tasks:
            for kind in self._work:
                tasks.create_task(self._one_after_another(kind))

    async def _one_after_another(self, kind: str) -> None:
        while True:
            self._came[kind].clear()
            take = partial(self._store.next, kind, at=self._clock.now())
            job = await patiently(take, self._wall)
            if job is None:
                await self._came[kind].wait()
            else:
                await self._do(job)

    async def _do(self, job: Job) -> None:
        async def note(progress: Mapping[str, Any]) -> None:
            await patiently(partial(self._store.note, job, progress), self._wall)

        try:
            outcome = await self._work[job.kind].do(job, note)
            state = "done"
        except (AlphaPulseError, asyncpg.PostgresError) as error:
            outcome, state = Outcome(result=None, detail=" ".join(str(error).split())), "failed"
        end = partial(
            self._store.end,
            job,
            state=state,
            result=outcome.result,
            detail=outcome.detail,
            at=self._clock.now(),
        )
        await patiently(end, self._wall)
        log.info("%s %s", job.kind, state, extra={"job": job.id, "detail": outcome.detail})
