"""Reads what the record has new, chooses by rules, and enters it in the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import asyncpg

from backend import damaged
from backend.api.status import Status
from backend.notify.sender import LOOK_EVERY
from backend.store import tail
from backend.store.database import patiently
from backend.store.outbox import Entry, Outbox
from backend.store.told_events import name_of
from collectors.pacing import Pace
from domain.market import SeriesKey
from domain.notifications import Notice, Place
from services.notifications.events import noticed, of_streams
from services.notifications.outages import SourceWatch, of_predictions
from services.notifications.rules import Rule, channels_of

PAGE: Final = 20  # blocks of a log that are read and entered at once
STALE, FRESH = "predictions.stale", "predictions.fresh"


@dataclass(slots=True, kw_only=True)
class Notifier:
    """Follows the stream log, the states of sources and the ages of predictions.

    Args:
        rules: who is told what.
        pool: of connections that no tick waits for.
        outbox: where it is entered.
        status: how old predictions are.
        pace: the market's clock and the machine's.
        free: waits while a tick is on its way to subscribers.
    """

    rules: tuple[Rule, ...]
    pool: asyncpg.Pool
    outbox: Outbox
    status: Status
    pace: Pace
    free: Callable[[], Awaitable[None]]
    _streams: dict[str, list[str]] = field(init=False)  # channel of streams → events
    _cursors: dict[str, int] = field(default_factory=dict)
    _sources: SourceWatch = field(default_factory=SourceWatch)
    _stale: dict[SeriesKey, datetime] = field(default_factory=dict)  # told

    def __post_init__(self) -> None:
        self._streams = of_streams(self._events)

    @property
    def _events(self) -> set[str]:
        return {event for rule in self.rules for event in rule.events}

    @property
    def _hears_sources(self) -> bool:
        return any(event.startswith("source.") for event in self._events)

    @property
    def _sees_ages(self) -> bool:
        return not self._events.isdisjoint({STALE, FRESH})

    async def begin(self) -> None:
        """Know how far the record was read; of what was not read up to now, read from here on."""
        read = [*self._streams, *([tail.SOURCES] if self._hears_sources else ())]
        self._cursors = await self.outbox.begin(read)
        if self._hears_sources:
            states = await tail.states(self.pool, self._cursors[tail.SOURCES])
            self._sources = SourceWatch(states)
        self._stale = await self.outbox.stale(forget=not self._sees_ages)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.free()
            await patiently(self.look, self.pace.wall)
            await self.pace.wall.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Enter what is new. It may be repeated: what was entered is not entered again."""
        for name, head in (await tail.heads(self.pool, [*self._streams])).items():
            while (read := self._cursors.get(name, 0)) < head:
                await self._follow(name, read, min(head, read + PAGE))
        if self._hears_sources:
            await self._follow_sources()
        if self._sees_ages:
            await self._look_at_ages()

    async def _follow(self, name: str, after: int, until: int) -> None:
        events = self._streams[name.partition(".")[0]]
        entries: list[Entry] = []
        for block in await tail.blocks(self.pool, name, after=after, until=until, events=events):
            for event in block:
                entries += self._entries(_notice(event))
            await asyncio.sleep(0)  # a block of many instruments takes milliseconds
        await self.outbox.enter(entries, {name: until}, at=self.pace.wall.now())
        self._cursors[name] = until

    async def _follow_sources(self) -> None:
        read = self._cursors[tail.SOURCES]
        changes = await tail.changes(self.pool, read)
        if not changes:
            return
        entries = [
            entry
            for position, status in changes
            for entry in self._entries(self._sources.on_state(status, tail.moment(position)))
        ]
        self._cursors[tail.SOURCES] = changes[-1][0]
        enter = partial(
            self.outbox.enter, entries, {tail.SOURCES: changes[-1][0]}, at=self.pace.wall.now()
        )
        await patiently(enter, self.pace.wall)  # the watch has moved: this is not read again

    async def _look_at_ages(self) -> None:
        status, now = self.status, self.pace.clock.now()
        if not status.ready:
            return
        stale, watched = set(status.stale(now)), set(status.watched)
        grown = {one: status.newest[one] for one in stale - self._stale.keys()}
        fresh = {one: at for one, at in self._stale.items() if one in watched - stale}
        if not (grown or fresh):
            return
        notices = [
            *of_predictions(STALE, grown, now, status.away()),
            *of_predictions(FRESH, fresh, now, {}),
        ]
        entries = [entry for notice in notices for entry in self._entries(notice)]
        at = self.pace.wall.now()
        await self.outbox.enter_ages(entries, stale=grown, fresh=fresh, at=at)
        self._stale = {one: at for one, at in (self._stale | grown).items() if one not in fresh}

    def _entries(self, notice: Notice | None) -> Sequence[Entry]:
        if notice is None:
            return ()
        market = self.status.market.value
        return [Entry.of(notice, one, market) for one in channels_of(notice, self.rules)]


def _notice(event: tail.Followed) -> Notice | None:
    place = Place(
        stream=event.stream, epoch=event.epoch, offset=event.offset, hash=event.hash.hex()
    )
    try:
        return noticed(event.event, event.published_at, place, event.payload)
    except (ValueError, KeyError, TypeError):
        damaged.meet(name_of(event.stream, event.offset), "it was edited; no channel is told of it")
        return None
