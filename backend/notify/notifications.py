"""The notifications of a running system: one who enters them, and a sender for each channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from backend.api.state import Unsent
from backend.api.status import Status
from backend.notify.notifier import Notifier
from backend.notify.sender import Sender
from backend.setting_tables import NotifySettings
from backend.store.database import connect_pool, patiently
from backend.store.outbox import Backlog, Outbox
from collectors.pacing import Pace
from domain.ports import Channel

log = logging.getLogger(__name__)

CONNECTIONS: Final = 2  # of our own: no tick waits for one of them
COUNT_EVERY: Final = timedelta(seconds=5)  # of wall time, of what waits and what is dead
PAUSE: Final = timedelta(minutes=1)  # after what nobody foresaw
NO_CHANNEL: Final = "the channel is not among the settings"


@dataclass(slots=True, kw_only=True)
class Notifications:
    """Tells what rules choose, for as long as the system runs.

    Args:
        about: the settings.
        channels: of them, by name.
        outbox: where notifications wait.
        notifier: who enters them.
        pace: the market's clock and the machine's.
    """

    about: NotifySettings
    channels: Mapping[str, Channel]
    outbox: Outbox
    notifier: Notifier
    pace: Pace
    _backlog: Sequence[Backlog] = ()

    def unsent(self) -> list[Unsent]:
        """What is pending or dead, as it was counted a few seconds ago."""
        now = self.pace.wall.now()
        return [
            Unsent(
                channel=one.channel,
                state=one.state,
                count=one.count,
                age_s=(now - one.oldest).total_seconds(),
            )
            for one in self._backlog
        ]

    async def begin(self) -> None:
        """Before anything happens: what happens from now on is told."""
        await self.notifier.begin()
        if count := await self.outbox.bury_others([*self.channels], NO_CHANNEL):
            log.warning(
                "notifications are dead letters", extra={"count": count, "reason": NO_CHANNEL}
            )

    async def run(self) -> None:
        """Until cancelled; over at once where nobody is told anything."""
        if not self.channels:
            return
        senders = [self._sender(name, channel) for name, channel in self.channels.items()]
        async with asyncio.TaskGroup() as tasks:
            for work in (self.notifier.run, self._keep, *(one.run for one in senders)):
                tasks.create_task(self._whatever_happens(work))

    async def _whatever_happens(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:  # ticks go on, and so do the other channels
                log.exception("notifications pause")
                await self.pace.wall.sleep(PAUSE)

    def _sender(self, name: str, channel: Channel) -> Sender:
        return Sender(
            name=name,
            channel=channel,
            outbox=self.outbox,
            per_minute=self.about.channels[name].per_minute,
            give_up=timedelta(hours=self.about.give_up_hours),
            pace=self.pace,
        )

    async def _keep(self) -> None:
        """Count what is not sent, and forget what was, once it is old."""
        wall, keep = self.pace.wall, timedelta(days=self.about.keep_days)
        while True:
            self._backlog = await patiently(self.outbox.unsent, wall)
            await patiently(partial(self.outbox.forget, wall.now() - keep), wall)
            await wall.sleep(COUNT_EVERY)


@asynccontextmanager
async def notifications_of(
    about: NotifySettings,
    channels: Mapping[str, Channel],
    *,
    url: str,
    status: Status,
    pace: Pace,
    free: Callable[[], Awaitable[None]],
) -> AsyncIterator[Notifications]:
    """The notifications of a system, begun.

    Their commits do not wait for the disk: what a lost machine takes from the outbox is entered
    again from the log, under the same ids.

    Args:
        about: the settings.
        channels: of them, by name.
        url: of the database.
        status: of the system.
        pace: its clocks.
        free: waits while a tick is on its way to subscribers.
    """
    connect = partial(connect_pool, url, size=CONNECTIONS, settings={"synchronous_commit": "off"})
    pool = await patiently(connect, pace.wall)
    try:
        outbox = Outbox(pool)
        notifier = Notifier(
            rules=tuple(one.rule() for one in about.rules),
            pool=pool,
            outbox=outbox,
            status=status,
            pace=pace,
            free=free,
        )
        found = Notifications(
            about=about, channels=channels, outbox=outbox, notifier=notifier, pace=pace
        )
        await patiently(found.begin, pace.wall)
        if not channels:
            await pool.close()  # nobody is told anything
        yield found
    finally:
        await pool.close()
