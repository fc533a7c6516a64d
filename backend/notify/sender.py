"""Empties the outbox of one channel: patiently, politely, and in the order of each subject."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import asyncpg

from backend import metrics
from backend.store.database import patiently
from backend.store.outbox import Outbox
from collectors.pacing import Backoff, Pace
from domain.errors import ChannelGoneError, UndeliveredError
from domain.market import EPOCH
from domain.ports import Channel
from services.notifications.wording import notification

log = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(milliseconds=500)  # of wall time, while nothing is due
FIRST_RETRY: Final = timedelta(seconds=5)  # longest wait after the first failure; it doubles
LONGEST_RETRY: Final = timedelta(hours=1)
LEAST_TRIES: Final = 5  # of a dead letter, however old it was when it was first tried
GONE_REST: Final = timedelta(hours=1)  # of a channel that wants no more
MINUTE: Final = timedelta(minutes=1)


@dataclass(slots=True, kw_only=True)
class Sender:
    """One channel's.

    Args:
        name, channel: whose outbox it is.
        outbox: where it is kept.
        per_minute: tries in any minute, at most.
        give_up: how long one is tried.
        pace: the market's clock, the machine's, and the chance in waits.
    """

    name: str
    channel: Channel
    outbox: Outbox
    per_minute: int
    give_up: timedelta
    pace: Pace
    _tries: deque[datetime] = field(init=False)
    _backoff: Backoff = field(init=False)
    _rests_until: datetime = EPOCH
    _said: str = ""  # why it takes nothing

    def __post_init__(self) -> None:
        self._tries = deque(maxlen=self.per_minute)
        self._backoff = Backoff(self.pace.random)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wait = await self.step()
            await self.pace.wall.sleep(min(wait, LOOK_EVERY))

    async def step(self) -> timedelta:
        """Try the one that is due, if one is; when the next is, if nothing else is entered."""
        now = self.pace.wall.now()
        if (held := self._held_until() - now) > timedelta(0):
            return held
        row = await patiently(partial(self.outbox.next, self.name), self.pace.wall)
        wait: timedelta = row["next_attempt_at"] - now if row else LONGEST_RETRY
        if row is None or wait > timedelta(0):
            return wait
        self._tries.append(now)
        await self._try(row)
        return timedelta(0)

    def _held_until(self) -> datetime:
        """No try before."""
        full = len(self._tries) == self.per_minute
        return max(self._rests_until, self._tries[0] + MINUTE if full else EPOCH)

    def _late(self, at: datetime) -> timedelta:
        """Wall time since a moment of the market."""
        return (self.pace.clock.now() - at) / self.pace.speed

    async def _try(self, row: asyncpg.Record) -> None:
        try:
            await self.channel.send(notification(row["body"].encode(), self._late(row["at"])))
        except ChannelGoneError as error:
            await self._gone(error)
        except UndeliveredError as error:
            await self._failed(row, error)
        else:
            await self._taken(row)

    async def _taken(self, row: asyncpg.Record) -> None:
        metrics.NOTIFICATIONS_SENT.labels(self.name).inc()
        self._backoff.reset()
        if self._said:
            log.info("a channel takes notifications again", extra={"channel": self.name})
            self._said = ""
        now = self.pace.wall.now()
        await patiently(partial(self.outbox.sent, row["number"], at=now), self.pace.wall)

    async def _failed(self, row: asyncpg.Record, error: UndeliveredError) -> None:
        metrics.NOTIFICATION_FAILURES.labels(self.name).inc()
        now, asked = self.pace.wall.now(), error.retry_after or timedelta(0)
        doubled = FIRST_RETRY * 2 ** min(row["attempts"], 16)
        again = now + max(self.pace.random.random() * min(doubled, LONGEST_RETRY), asked)
        self._rests_until = now + max(self._backoff.next(), asked)
        tries = row["attempts"] + 1
        dead = tries >= LEAST_TRIES and now - row["created_at"] >= self.give_up
        failed = partial(self.outbox.failed, row["number"], str(error), again=again, dead=dead)
        await patiently(failed, self.pace.wall)
        if dead:
            about = {"channel": self.name, "id": row["id"], "reason": str(error)}
            log.warning("a notification is a dead letter", extra=about)
        if self._said != str(error):
            about = {"channel": self.name, "reason": str(error)}
            log.warning("a channel does not take notifications", extra=about)
        self._said = str(error)

    async def _gone(self, error: ChannelGoneError) -> None:
        """What waits is dead: the receiver wants none of it. Later ones are tried after a rest."""
        metrics.NOTIFICATION_FAILURES.labels(self.name).inc()
        self._rests_until = self.pace.wall.now() + GONE_REST
        self._said = str(error)
        count = await patiently(partial(self.outbox.bury, self.name, str(error)), self.pace.wall)
        about = {"channel": self.name, "dead": count, "reason": str(error)}
        log.warning("a channel wants no notifications any more", extra=about)
