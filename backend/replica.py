"""A server beside the system that predicts: it reads the same database, and enters orders there."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import asyncpg

from backend import damaged
from backend.agreed import Print
from backend.api.connection import DRAINING, CloseReason
from backend.api.server import listen
from backend.api.snapshots import known_heads
from backend.api.state import ApiState
from backend.api.status import Market, Status
from backend.api.tls import certificate
from backend.api.watch import look
from backend.clock import ExchangeClock, SystemClock
from backend.orders import Orders
from backend.plugins import catalogue_of
from backend.served import api_of, refuse_keyless, say, served, stand_on, until_signalled
from backend.settings import Settings
from backend.store import migrate, schema
from backend.store.database import READERS, connect, connect_pool, patiently
from backend.store.jobs import JobStore
from backend.store.log_tail import LogTail
from backend.store.pulse import waited_for
from backend.store.registry import Registry
from backend.store.schema import Schema, Standing
from backend.store.state import StateFolder
from backend.store.system_status import Told, hear
from backend.told_status import disagreements, market_now, take, troubles, weights
from domain.errors import StoreError, UsageError
from domain.market import EPOCH
from domain.ports import Clock
from domain.troubles import Trouble
from services.models.artifacts import ArtifactStore

log = logging.getLogger(__name__)

WRITERS: Final = 2  # of keys' last use, the audit log and orders
TAIL_EVERY_S: Final = 0.05  # wall
HEAR_EVERY_S: Final = 0.5  # wall
SCHEMA: Final = "schema"  # what /readyz says of a start that waits for it
SCHEMA_EVERY: Final = timedelta(seconds=1)  # wall
ANSWERED_WITHIN_S: Final = 20.0  # a read of the log, or of the status
BLIND_AFTER_S: Final = 3.0  # without a read of the log
AWAY_RETRY_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """What a process does that serves.

    Attributes:
        pushes: whether subscribers may stay; else they are sent to other servers.
        work: what it does besides, until cancelled.
        said: one line once it serves.
        ours: its settings, where others must have the same.
    """

    pushes: bool = True
    work: Callable[[ApiState], Coroutine[None, None, None]] | None = None
    said: str = "it reads what the system beside it writes"
    ours: Print | None = None


async def run_replica(
    settings: Settings, duties: Duties | None = None, *, allow_no_keys: bool = False
) -> None:
    """Serve the page, REST and the socket until interrupted.

    Args:
        settings: of the server.
        duties: by default only that.
        allow_no_keys: whoever reaches it may ask.

    Raises:
        UsageError: there is no database of a system; it cannot be served there.
        PortTakenError: as said.
        StoreUnavailableError, StoreError: the database cannot be had, has no schema, or that of a
            newer program that does not serve this one.
    """
    url = database_beside(settings)
    await _refuse_foreign(url)
    shown = certificate(settings.api.tls_cert, settings.api.tls_key)
    await refuse_keyless(settings, allow_no_keys=allow_no_keys)
    listener = listen(settings.host, settings.port)
    clock = ExchangeClock(SystemClock().now(), speed=1.0)
    status = Status(market=Market.LIVE, troubles=[waited_for])
    token = secrets.token_urlsafe()
    api = api_of(settings, clock, status, allow_no_keys=allow_no_keys, token=token)
    with until_signalled():
        async with served(api, listener, shown):
            while True:
                url = await _beside(settings, url, api, clock, duties or Duties())


async def _beside(
    settings: Settings, url: str, api: ApiState, clock: ExchangeClock, duties: Duties
) -> str:
    """Answer from one database, until the system has another; its URL."""
    wall = SystemClock()
    async with AsyncExitStack() as stack:
        readers = await patiently(partial(connect_pool, url, size=READERS, read_only=True), wall)
        stack.push_async_callback(readers.close)
        writers = await patiently(partial(connect_pool, url, size=WRITERS), wall)
        stack.push_async_callback(writers.close)
        await _until_migrated(readers, api.status, wall)
        replica = Replica(
            api=api,
            clock=clock,
            readers=readers,
            writers=writers,
            wall=wall,
            pushes=duties.pushes,
            ours=duties.ours,
        )
        await patiently(replica.begin, wall)
        kinds = catalogue_of(settings.plugins)
        artifacts = ArtifactStore(StateFolder(settings.state).path / "artifacts", kinds)
        api.models, api.artifacts = kinds.names, artifacts
        stand_on(api, readers, writers)
        stack.push_async_callback(look, api)
        say(f"ready: {duties.said}")
        work = [] if duties.work is None else [duties.work(api)]
        moved = await replica.run(_moved(settings, url), *work)
        replica.leave()  # who is stopped says goodbye instead, and sends what is queued
        return moved


async def _moved(settings: Settings, url: str) -> str:
    """Wait until the system has another database: an embedded one gets a port at each start."""
    while True:
        await asyncio.sleep(HEAR_EVERY_S)
        if settings.database_url is None:
            runtime = StateFolder(settings.state).attach()
            if runtime is not None and runtime.database_url != url:
                return runtime.database_url


def database_beside(settings: Settings) -> str:
    """The URL of a database that a system uses.

    Raises:
        UsageError: none is named, and no system runs on the state folder.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    runtime = StateFolder(settings.state).attach() if settings.state.exists() else None
    if runtime is None:
        raise UsageError(
            f"no system runs on the state folder {settings.state}; set ALPHAPULSE_DATABASE_URL"
            " to the database of one that runs elsewhere"
        )
    return runtime.database_url


async def _refuse_foreign(url: str) -> None:
    connection = await connect(url)
    try:
        _standing(await schema.look(connection))
    finally:
        await connection.close()


async def _until_migrated(readers: asyncpg.Pool, status: Status, wall: Clock) -> None:
    """Wait while the database has a schema that is older than this program's.

    Raises:
        StoreError: it got one that this program does not work on.
    """
    while True:
        found = await patiently(partial(schema.look, readers), wall)
        if _standing(found) is not Standing.OLDER:
            status.progress.pop(SCHEMA, None)
            return
        if SCHEMA not in status.progress:
            say(
                f"waiting: the database has schema {found.revision}, this program needs"
                f" {migrate.heads()[0]}; the system beside it or `alphapulse migrate`, of this"
                " version, migrates it"
            )
        status.report(SCHEMA, 0, 1)
        await wall.sleep(SCHEMA_EVERY)


def _standing(found: Schema) -> Standing:
    stands = migrate.standing(found)
    if stands is Standing.FOREIGN:
        raise StoreError(
            f"the database has schema {found.revision}, this program needs {migrate.heads()[0]}:"
            + (" use a newer program" if found.revision else " run `alphapulse migrate`")
        )
    return stands


@dataclass(slots=True, kw_only=True)
class Replica:
    """Keeps the hub and the status near the database.

    Attributes:
        pushes: whether there are subscribers, who are told what is committed.
        seen: moment of the market's clock up to which the log was read.
        ours: settings of this process, where others must have the same.
    """

    api: ApiState
    clock: ExchangeClock
    readers: asyncpg.Pool
    writers: asyncpg.Pool
    wall: Clock = field(default_factory=SystemClock)
    monotonic: Callable[[], float] = time.monotonic
    pushes: bool = True
    seen: datetime = EPOCH
    ours: Print | None = None
    _seen_at: float = 0.0  # monotonic seconds, as below: of the log
    _heard_at: float = 0.0  # of the status
    _heard: Sequence[Told] = ()  # all that processes say
    _differing: Sequence[str] = ()  # of the settings of processes
    _told_troubles: Sequence[Trouble] = ()  # by the system
    _tail: LogTail = field(default_factory=LogTail)
    orders: Orders = field(init=False)

    def __post_init__(self) -> None:
        self.orders = Orders(
            JobStore(self.writers),
            Registry(self.writers),
            heard=lambda: self._heard,
            clock=self.clock,
        )

    async def begin(self) -> None:
        """Know where the streams stand, and what the system says."""
        async with self.readers.acquire() as connection:
            self._looked(self.clock.now())
            await self._tail.begin(connection)
            self.api.hub.learn(await known_heads(connection))
        await self._hear()
        self.api.status.troubles = [
            waited_for,
            self.blind,
            damaged.troubles,
            lambda: self._told_troubles,
        ]
        self.api.hub.seen = lambda: self.seen

    async def run(self, until: Awaitable[str], *work: Coroutine[None, None, None]) -> str:
        """Until that is known, which is then returned.

        Args:
            until: what ends it.
            work: is done meanwhile.
        """
        ends = asyncio.ensure_future(until)
        following = [self._again(self.follow, TAIL_EVERY_S)] if self.pushes else []
        beside = (self._again(one, HEAR_EVERY_S) for one in (self._hear, self.refuse_foreign))
        endless = (*following, *beside, self._watch(), *work)
        tasks = [asyncio.create_task(one) for one in endless]
        try:
            await asyncio.wait([ends, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            return await ends
        finally:
            for one in (ends, *tasks):
                one.cancel()
            await asyncio.gather(ends, *tasks, return_exceptions=True)

    def leave(self) -> None:
        """The database is another's from now on: nobody is told anything of it any more."""
        self.api.reader = None
        self._send_away()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(HEAR_EVERY_S)
            self.look()

    def look(self) -> None:
        """Send subscribers to other servers while the log cannot be read, or is not."""
        if not self.pushes:
            self._send_away()
            return
        if self.blind():
            self._send_away()

    def blind(self) -> list[Trouble]:
        """That the database does not answer, and since when."""
        last = min(self._seen_at, self._heard_at) if self.pushes else self._heard_at
        blind = timedelta(seconds=self.monotonic() - last)
        if blind.total_seconds() < BLIND_AFTER_S:
            return []
        reason = "this server has no answer from it"
        since = self.wall.now() - blind
        return [Trouble(about="database", since=since, reason=reason, grave=True)]

    def _send_away(self) -> None:
        for connection in tuple(self.api.hub.connections):
            connection.close(CloseReason(DRAINING, "unavailable", AWAY_RETRY_MS))

    def _looked(self, moment: datetime) -> None:
        self.seen, self._seen_at = moment, self.monotonic()

    async def _again(self, work: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            await patiently(partial(_within, work), self.wall)
            await asyncio.sleep(every_s)

    async def follow(self) -> None:
        """Publish what was committed since."""
        moment = self.clock.now()
        async with self.readers.acquire() as connection:
            async for events in self._tail.news(connection):
                self.api.hub.publish_read(events)
        self._looked(moment)

    async def refuse_foreign(self) -> None:
        """See that the database was not migrated to what this program does not work on.

        Raises:
            StoreError: it was.
        """
        _standing(await schema.look(self.readers))

    async def _hear(self) -> None:
        heard = await hear(self.readers)
        self._heard_at = self.monotonic()
        if not heard:
            return
        take(heard, self.api.status, self.ours)
        self._told_troubles = troubles(heard)
        self.clock.speed = self.api.status.speed
        if (now := market_now(heard)) is not None:
            self.clock.set(now)
        self._heard = heard
        if (differing := disagreements(heard, self.ours)) != self._differing:
            self._differing = differing
            for line in differing:
                log.warning(line)
        self.api.weights = lambda: weights(heard)
        self.api.orders = self.orders


async def _within(work: Callable[[], Awaitable[None]]) -> None:
    """A connection that is frozen fails too."""
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        await work()
