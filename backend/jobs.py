"""Jobs as their owners do them: in each queue in turn, and none is lost that was begun."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import textwrap
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol

import asyncpg

from backend.api.problems import problem_of
from backend.background import Rounds
from backend.store.database import CONNECTION_ERRORS, patiently
from backend.store.jobs import Job, JobStore
from domain.errors import AlphaPulseError, LeaseLostError, in_one_line
from domain.keys import masked
from domain.ports import Clock

log = logging.getLogger(__name__)

MOST_ATTEMPTS: Final = 3  # of a job that ends in an error of ours, or takes the system along
REASON: Final = 300  # letters of an error that are kept
LOOK_EVERY: Final = timedelta(milliseconds=500)  # of wall time
STOP_S: Final = 2.0  # that a stop waits for the database
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

    async def do(self, job: Job, note: Note) -> Outcome:
        """Do it; `note` keeps how far it is, for whoever takes it up again.

        Raises:
            AlphaPulseError: it cannot be done.
        """
        ...


class Bell:
    """Tells the owners of this process that there is something to take.

    Args:
        store: is looked at twice a second, for all of them at once.
        wall: of these looks, and of waits for the database.
    """

    def __init__(self, store: JobStore, wall: Clock) -> None:
        self._store = store
        self._wall = wall
        self._came: dict[tuple[str, str], asyncio.Event] = {}

    @contextlib.contextmanager
    def heard_by(self, owner: str, kinds: Iterable[str]) -> Iterator[asyncio.Event]:
        """What is set when there may be something to take of any of these kinds."""
        came, places = asyncio.Event(), [(owner, kind) for kind in kinds]
        self._came |= dict.fromkeys(places, came)
        try:
            yield came
        finally:
            for place in places:
                self._came.pop(place, None)

    def ring(self) -> None:
        """Something was entered by this very process."""
        for came in self._came.values():
            came.set()

    async def run(self) -> None:
        """Until cancelled."""
        with Rounds("the look for orders") as look:
            while True:
                with look.going_on():
                    await self._look()
                await self._wall.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        owners = sorted({owner for owner, _ in self._came})
        for place in await patiently(partial(self._store.waiting, owners), self._wall):
            if place in self._came:
                self._came[place].set()


class Jobs:
    """Does the jobs of one owner: of each queue one after another, as they were entered.

    Args:
        store: where they are entered; fenced by the owner's lease.
        owner: name of the lease.
        queues: what is done, by kind; in a queue in turn, queues beside each other.
        bell: wakes it.
        clock: of their times.
        wall: of waits for the database.
    """

    def __init__(
        self,
        store: JobStore,
        owner: str,
        queues: Sequence[Mapping[str, Work]],
        *,
        bell: Bell,
        clock: Clock,
        wall: Clock,
    ) -> None:
        self._store = store
        self._owner = owner
        self._queues = queues
        self._bell = bell
        self._clock = clock
        self._wall = wall

    async def run(self) -> None:
        """Until cancelled; what is cut short is taken up by the next who runs.

        A job whose work the database leaves in the middle waits for it, and is no attempt more.
        What nobody foresaw ends neither the system nor the other jobs: the job is tried again, and
        after `MOST_ATTEMPTS` given up.

        Raises:
            LeaseLostError: the owner is another process now.
        """
        async with asyncio.TaskGroup() as tasks:
            for queue in self._queues:
                tasks.create_task(self._one_after_another(queue))

    async def _one_after_another(self, queue: Mapping[str, Work]) -> None:
        work = Rounds(f"the jobs of {self._owner} ({', '.join(queue)})")
        with self._bell.heard_by(self._owner, queue) as came, work:
            while True:
                came.clear()
                with work.going_on():
                    if await self._next(queue):
                        continue
                await came.wait()

    async def _next(self, queue: Mapping[str, Work]) -> bool:
        """Do the first that waits; whether one did."""
        now = self._clock.now()
        job = await self._store.next(self._owner, *queue, at=now, wall=self._wall)
        if job is None:
            return False
        if job.attempt > MOST_ATTEMPTS:
            await self._end(job, "failed", _given_up(job.why or "the system ended each time"))
        else:
            await self._attempt(job, queue[job.kind])
        return True

    async def _attempt(self, job: Job, work: Work) -> None:
        try:
            await self._do(job, work)
        except asyncio.CancelledError:
            with contextlib.suppress(LeaseLostError, asyncpg.PostgresError, *CONNECTION_ERRORS):
                async with asyncio.timeout(STOP_S):
                    await self._store.stopped(job, at=self._clock.now())
            raise
        except LeaseLostError:
            raise
        except Exception as error:
            log.exception("%s came to no end", job.kind, extra={"job": job.id})
            why = _line(error)
            if job.attempt < MOST_ATTEMPTS:
                await patiently(
                    lambda: self._store.explain(job, why, at=self._clock.now()), self._wall
                )
            else:
                await self._end(job, "failed", _given_up(why))

    async def _do(self, job: Job, work: Work) -> None:
        begun = job

        async def note(progress: Mapping[str, Any]) -> None:
            nonlocal begun
            await patiently(
                lambda: self._store.note(job, progress, at=self._clock.now()), self._wall
            )
            begun = replace(job, progress=progress)

        try:  # what the database's going away cuts short is begun again where it was
            outcome = await patiently(lambda: work.do(begun, note), self._wall)
        except LeaseLostError:
            raise
        except (AlphaPulseError, asyncpg.PostgresError) as error:
            why = in_one_line(error)
            await self._end(job, "failed", why, problem=problem_of(error))
        else:
            await self._end(job, "done", outcome.detail, outcome.result)

    async def _end(
        self,
        job: Job,
        state: str,
        detail: str | None,
        result: list[dict[str, Any]] | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        end = partial(
            self._store.end,
            job,
            state=state,
            result=result,
            detail=detail,
            problem=problem,
            at=self._clock.now(),
        )
        await patiently(end, self._wall)
        log.info("%s %s", job.kind, state, extra={"job": job.id, "detail": detail})


def _line(error: Exception) -> str:
    """What nobody foresaw, in one line; its text may be of a library, and is masked."""
    return masked(
        textwrap.shorten(f"{type(error).__name__}: {in_one_line(error)}", REASON, placeholder="…")
    )


def _given_up(why: str) -> str:
    return f"given up after {MOST_ATTEMPTS} attempts: {why}"
