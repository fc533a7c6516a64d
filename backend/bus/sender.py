"""Sends records one behind another in each key, through whatever happens to the broker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from backend.bus.broker import Producer, prepare, producing, tick_topics
from backend.bus.outage import Outage
from backend.bus.records import Record
from backend.bus.troubles import STUCK
from backend.setting_tables import KafkaSettings
from collectors.pacing import Pace
from domain.troubles import Trouble

MOST: Final = 1_024  # records that wait; who has another waits with it


class _Sent(NamedTuple):
    record: Record
    taken: asyncio.Future[None]

    @property
    def order(self) -> tuple[str, bytes | None]:
        """What it has its place in."""
        return self.record.topic, self.record.key


@dataclass(slots=True, kw_only=True)
class Sender:
    """Holds the producer of a bus, which is made anew after whatever failed.

    Args:
        about: the cluster.
        pace: the wall clock of the waits, and the chance in them.
    """

    about: KafkaSettings
    pace: Pace
    cluster: str = field(init=False, default="")  # its id, once it has answered
    _asked: asyncio.Queue[_Sent] = field(init=False, default_factory=lambda: asyncio.Queue(MOST))
    _waiting: list[_Sent] = field(init=False, default_factory=list)
    _outage: Outage = field(init=False)
    _began: datetime | None = field(init=False, default=None)  # by the wall, of what is under way

    def __post_init__(self) -> None:
        said = {"begins": "the broker takes no ticks", "ends": "the broker takes ticks again"}
        self._outage = Outage(pace=self.pace, **said)

    async def send(self, record: Record) -> None:
        """Until all replicas in sync have it: however long the broker is away."""
        taken = asyncio.get_running_loop().create_future()
        await self._asked.put(_Sent(record, taken))
        await taken

    def troubles(self) -> list[Trouble]:
        """That a tick waits, or the first would, since when, and why."""
        why, since = self._outage.why, self._began
        if since is None or not (why or self.pace.wall.now() - since >= STUCK):
            return []
        reason = f"it takes no ticks ({why or 'no answer'})"
        return [Trouble(about="broker", since=since, reason=reason, grave=True)]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self._began = self._began or self.pace.wall.now()
                self.cluster = await prepare(self.about, tick_topics)
                async with producing(self.about, linger_ms=0) as producer:
                    if not self._waiting:
                        self._well()
                    while True:
                        await self._round(producer)
            except Exception as error:  # noqa: BLE001 - it is logged, and ticks wait meanwhile
                await self._outage.wait(error)

    async def _round(self, producer: Producer) -> None:
        """One record of each key: the next is behind it only once it is taken."""
        if not self._waiting:
            self._waiting.append(await self._asked.get())
        while len(self._waiting) < MOST and not self._asked.empty():
            self._waiting.append(self._asked.get_nowait())
        self._began = self._began or self.pace.wall.now()
        first: dict[tuple[str, bytes | None], _Sent] = {}
        for one in self._waiting:
            first.setdefault(one.order, one)
        await producer.send([one.record for one in first.values()], free=_nobody)
        self._well()
        for one in first.values():
            self._waiting.remove(one)
            if not one.taken.done():  # who asked may have gone
                one.taken.set_result(None)

    def _well(self) -> None:
        self._outage.over()
        self._began = None


async def _nobody() -> None:
    """Nothing on this side is more urgent than a tick."""
