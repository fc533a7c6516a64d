"""A record with an outbox beside it: what happens, who is told, and a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import numpy as np

from backend.api.status import Market, Status
from backend.notify.notifier import Notifier
from backend.notify.sender import Sender
from backend.store.database import connect_pool
from backend.store.instruments import Instruments
from backend.store.outbox import Outbox
from backend.store.recorder import Recorder
from backend.store.sources import SourceStore
from collectors.pacing import Pace
from domain.market import Timeframe
from domain.sources import SourceState, SourceStatus
from services.notifications.events import EVENTS
from services.notifications.rules import Rule
from tests.doubles import ManualClock, RecordingChannel
from tests.integration.store_samples import INSTRUMENTS, at, signal, signals

ALL = Rule(events=tuple(EVENTS), channels=("ops",))
MINUTE = timedelta(minutes=1)


async def nobody() -> None:
    """No tick is on its way."""


@dataclass(slots=True, kw_only=True)
class Notified:
    """Parts of a system that tells what happens."""

    pool: asyncpg.Pool
    clock: ManualClock = field(default_factory=ManualClock)
    status: Status = field(default_factory=lambda: Status(market=Market.LIVE))
    channel: RecordingChannel = field(default_factory=RecordingChannel)

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.pool)

    @property
    def pace(self) -> Pace:
        return Pace(clock=self.clock, wall=self.clock, random=np.random.default_rng(7))

    async def notifier(self, *rules: Rule) -> Notifier:
        """As a start makes one."""
        made = Notifier(
            rules=rules or (ALL,),
            pool=self.pool,
            outbox=self.outbox,
            status=self.status,
            pace=self.pace,
            free=nobody,
        )
        await made.begin()
        return made

    def sender(self, **changes: Any) -> Sender:
        about: dict[str, Any] = {
            "name": "ops",
            "channel": self.channel,
            "outbox": self.outbox,
            "per_minute": 1_000,
            "give_up": timedelta(hours=24),
            "pace": self.pace,
        }
        return Sender(**{**about, **changes})

    async def drive(self, sender: Sender, duration: timedelta) -> None:
        """Let a sender work for a while; its waits pass at once."""
        end = self.clock.now() + duration
        while self.clock.now() < end:
            wait = await sender.step()
            self.clock.advance(min(wait, end - self.clock.now()))

    async def signals(self, tick: int, *, event: str = "opened", **changes: Any) -> None:
        """Three signals are published."""
        recorder = Recorder(self.pool, Instruments(self.pool))
        batch = signals(tick, *(signal(tick, one, **changes) for one in range(3)), event=event)
        await recorder.commit_tick([batch], published_at=at(tick))

    async def source(self, state: str, reason: str = "", source: str = "news") -> None:
        """A source changes its state, now."""
        store, now = SourceStore(self.pool, Instruments(self.pool)), self.clock.now()
        one = SourceStatus(source=source, state=SourceState(state), since=now, reason=reason)
        await store.change([one], known_at=now)

    def predicted(self, *places: int) -> None:
        """There are predictions of the close that is now."""
        self.status.instruments, self.status.timeframes = INSTRUMENTS, (Timeframe.H1,)
        some = [INSTRUMENTS[one] for one in places or range(3)]
        self.status.predicted(Timeframe.H1, some, self.clock.now())

    async def entered(self) -> list[tuple[str, str]]:
        """Event and subject of every notification, in the order of entering."""
        rows = await self.rows()
        return [(row["event"], row["subject"]) for row in rows]

    async def rows(self) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await self.pool.fetch(
            "SELECT * FROM notifications ORDER BY number"
        )
        return found


@asynccontextmanager
async def notified(database_url: str) -> AsyncIterator[Notified]:
    pool = await connect_pool(database_url)
    try:
        yield Notified(pool=pool)
    finally:
        await pool.close()
