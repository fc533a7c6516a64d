"""The jobs of a running system: of each kind one after another, and none is lost that was begun."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import asyncpg

from backend.store.database import patiently
from backend.store.jobs import Asked, Job, JobStore, Order
from domain.errors import AlphaPulseError
from domain.keys import masked
from domain.ports import Clock

log = logging.getLogger(__name__)

MOST_ATTEMPTS: Final = 3  # of a job that ends in an error of ours, or takes the system along
REASON: Final = 300  # letters of an error that are kept
STOP_S: Final = 2.0  # that a stop waits for the database
AWAY: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
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
        """Until cancelled; what is cut short is taken up by the next who runs.

        What nobody foresaw ends neither the system nor the other jobs: the job is tried again, and
        after `MOST_ATTEMPTS` given up.
        """
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
            elif job.attempt > MOST_ATTEMPTS:
                await self._end(job, "failed", _given_up(job.why or "the system ended each time"))
            else:
                await self._attempt(job)

    async def _attempt(self, job: Job) -> None:
        try:
            await self._do(job)
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError, *AWAY):
                async with asyncio.timeout(STOP_S):
                    await self._store.stopped(job)
            raise
        except Exception as error:
            log.exception("%s came to no end", job.kind, extra={"job": job.id})
            why = _line(error)
            if job.attempt < MOST_ATTEMPTS:
                await patiently(partial(self._store.again, job, why), self._wall)
            else:
                await self._end(job, "failed", _given_up(why))

    async def _do(self, job: Job) -> None:
        async def note(progress: Mapping[str, Any]) -> None:
            await patiently(partial(self._store.note, job, progress), self._wall)

        try:
            outcome = await self._work[job.kind].do(job, note)
        except (AlphaPulseError, asyncpg.PostgresError) as error:
            await self._end(job, "failed", " ".join(str(error).split()))
        else:
            await self._end(job, "done", outcome.detail, outcome.result)

    async def _end(
        self, job: Job, state: str, detail: str | None, result: list[dict[str, Any]] | None = None
    ) -> None:
        end = partial(
            self._store.end, job, state=state, result=result, detail=detail, at=self._clock.now()
        )
        await patiently(end, self._wall)
        log.info("%s %s", job.kind, state, extra={"job": job.id, "detail": detail})


def _line(error: Exception) -> str:
    """What nobody foresaw, in one line; its text may be of a library, and is masked."""
    return masked(textwrap.shorten(f"{type(error).__name__}: {error}", REASON, placeholder="…"))


def _given_up(why: str) -> str:
    return f"given up after {MOST_ATTEMPTS} attempts: {why}"
