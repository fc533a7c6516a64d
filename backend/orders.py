"""Orders: entered as jobs by whoever hears them, done by the owners of what they are about.

An exchange's history and membership are of whoever collects it, trainings and seats of whoever runs
a panel. Which of them there are follows from what processes say of themselves, so that any process
that serves, and a command beside them, can see what an order is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from backend.settings import UnknownModelError
from backend.store.database import CONNECTION_ERRORS
from backend.store.job_parts import Part
from backend.store.jobs import ORDERED, Asked, JobStore, NothingWaitsError, Order
from backend.store.registry import Registry, role_of
from backend.store.system_status import Told, collectors_voice, panel_voice
from backend.store.tables import LABEL_SET
from domain.errors import UnknownExchangeError, UnknownSymbolError, UsageError
from domain.market import Instrument, Timeframe, rfc3339
from domain.ports import Clock
from domain.topics import panel_key

PLACES: Final = ("member", "challenger")  # that a version can be taken from
LOOK_EVERY_S: Final = 0.05  # whether an order is done

Request = Mapping[str, Any]


class Place(NamedTuple):
    """Where predictions are made, and models fitted."""

    exchange: str
    timeframe: str
    horizon: int

    def __str__(self) -> str:
        return f"{self.exchange} {self.timeframe}x{self.horizon}"

    @property
    def owner(self) -> str:
        """The lease of whoever runs its panel."""
        return panel_voice(panel_key(self.exchange, Timeframe(self.timeframe)))


async def cancel(store: JobStore, job: Mapping[str, Any], caller: str, *, at: datetime) -> None:
    """As `Orders.cancel`, also where no system runs."""
    if job["kind"] not in ORDERED:
        raise NothingWaitsError(f"the job {job['id']} is no order: who collects asks it of panels")
    if not await store.cancel(job["id"], f"cancelled by {caller}", at=at):
        raise NothingWaitsError(
            f"nothing of the job {job['id']} waits to be begun: it is {job['state']}"
        )


class Orders:
    """Takes orders for a running system.

    Args:
        store: where they are entered.
        registry: of models.
        heard: what its processes say of themselves.
        clock: of the times of jobs.
        ring: wakes the owners that are in this process.
    """

    def __init__(
        self,
        store: JobStore,
        registry: Registry,
        *,
        heard: Callable[[], Sequence[Told]],
        clock: Clock,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._heard = heard
        self._clock = clock
        self._ring = ring

    async def ask(self, order: Order) -> Asked:
        """Enter an order; one that came before under the same key is answered as it was.

        Raises:
            UsageError: it cannot be followed, or its key names another request.
            TooManyJobsError: the caller has as many as may wait.
        """
        if (known := await self._store.find(order)) is not None:
            return known
        request, owners = await self._about(order.kind, order.request)
        asked = await self._store.enter(order, owners, at=self._clock.now(), request=request)
        self._ring()
        return asked

    async def cancel(self, job: Mapping[str, Any], caller: str) -> None:
        """End what of an order nobody has begun.

        Args:
            job: as it is kept.
            caller: who wants it.

        Raises:
            NothingWaitsError: all of it is begun, or it is none of a caller's.
        """
        await cancel(self._store, job, caller, at=self._clock.now())

    async def parts(self, asked: Asked, *, within_s: float) -> Sequence[Part]:
        """How far a job's owners are: as soon as all have ended, at the latest after a while.

        What was known last, while the database is away: nothing has become of the job for that.
        """
        parts, until = asked.parts, time.monotonic() + within_s
        while True:
            with contextlib.suppress(*CONNECTION_ERRORS):
                parts = await self._store.parts(asked.row["id"])
            if all(part.ended for part in parts) or time.monotonic() >= until:
                return parts
            await asyncio.sleep(LOOK_EVERY_S)

    async def adopt(self) -> None:
        """Find owners for what an older release was asked and has not done."""
        for job in await self._store.orphans():
            try:
                _, owners = await self._about(job.kind, job.request)
            except UsageError as error:
                await self._store.dismiss(job, str(error), at=self._clock.now())
            else:
                await self._store.adopt(job, owners)

    async def _about(self, kind: str, request: Request) -> tuple[Request, list[str]]:
        """What the owners are to read, and who they are.

        Raises:
            UsageError: it is about nothing that there is.
        """
        if kind == "rollback":
            return await self._seat(request)
        if kind == "retrain":
            return request, list(dict.fromkeys(one.owner for one in self._places(request)))
        if kind == "backfill":
            self._refuse_future(request)
            self._refuse_unwatched(request)
        return request, [collectors_voice(one) for one in self._exchanges(request)]

    def _exchanges(self, request: Request) -> list[str]:
        """The exchange that is named, else all."""
        known = sorted({one.exchange for one in places(self._heard())})
        asked = request.get("exchange")
        if asked is None and known:
            return known
        if asked is None or asked not in known:
            raise UnknownExchangeError(asked or "", known)
        return [asked]

    def _places(self, request: Request) -> list[Place]:
        """The panels and horizons that a request is about."""
        every = places(self._heard())
        if request.get("exchange") is not None:
            self._exchanges(request)
        found = [one for one in every if matches(one, request)]
        if not found:
            there = ", ".join(map(str, every)) or "no panel yet"
            raise UsageError(f"nothing is predicted there; there is {there}")
        return found

    def _refuse_future(self, request: Request) -> None:
        start, now = request.get("start"), self._clock.now()
        if start is not None and datetime.fromisoformat(start) > now:
            raise UsageError(f"start must not lie after now, {rfc3339(now)}")

    def _refuse_unwatched(self, request: Request) -> None:
        (exchange,) = self._exchanges(request)
        instrument, told = Instrument(exchange, request["symbol"]), self._heard()
        watched = [
            Instrument(*one)
            for each in told
            for one in each.told["instruments"]
            if one[0] == exchange
        ]
        if instrument not in watched:
            raise UnknownSymbolError(instrument.symbol, {one.symbol for one in watched})
        asked = request.get("timeframe")
        there = {one.timeframe for one in places(told) if one.exchange == exchange}
        if asked is not None and asked not in there:
            named = ", ".join(one.value for one in Timeframe if one.value in there)
            raise UsageError(f"{instrument} is watched at {named}, not at {asked}")

    async def _seat(self, request: Request) -> tuple[Request, list[str]]:
        """The version that a rollback takes from its place: done again it takes no other."""
        model = request["model"]
        rows = [row for row in await self._registry.versions() if _has_place(row)]
        seated = {
            Place(row["exchange"], row["timeframe"], row["horizon"]): row["version"]
            for row in rows
            if row["name"] == model
        }
        if not seated:
            raise UnknownModelError(model, {row["name"] for row in rows})
        found = [place for place in seated if matches(place, request)]
        named = ", ".join(map(str, found or seated))
        if not found:
            raise UsageError(f"{model} is not there; it is at {named}")
        if len(found) > 1:
            raise UsageError(
                f"{model} is at {named}: choose by --exchange, --timeframe and --horizon"
            )
        (place,) = found
        return {"model": model, **place._asdict(), "version": seated[place]}, [place.owner]


def places(heard: Iterable[Told]) -> list[Place]:
    """Where predictions are made, by what processes say."""
    found = {
        Place(exchange, timeframe, horizon)
        for one in heard
        for exchange, _ in one.told["instruments"]
        for timeframe in one.told["timeframes"]
        for horizon in one.told["horizons"]
    }
    return sorted(found, key=lambda one: (one.exchange, Timeframe(one.timeframe).ms, one.horizon))


def matches(place: Place, request: Request) -> bool:
    """Whether a request that may name an exchange, a timeframe and a horizon is about it."""
    return all(request.get(name) in (None, one) for name, one in place._asdict().items())


def _has_place(row: Mapping[str, Any]) -> bool:
    return role_of(row["aliases"]) in PLACES and row["label_set"] == LABEL_SET
