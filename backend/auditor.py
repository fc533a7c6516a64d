"""Keeps the gap ledger true: enters what collectors notice, compares it with what is stored."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from backend.background import Rounds
from backend.store.database import CONNECTION_ERRORS, patiently
from backend.store.gaps import Difference, GapLedger
from backend.store.stream_log import StreamEvent
from collectors.gaps import Cause, Gap, GapState, Range
from collectors.ledger import without
from collectors.pacing import Pace
from domain.market import Instrument, SeriesKey, Timeframe

log = logging.getLogger(__name__)

GATHER: Final = timedelta(milliseconds=250)  # of wall time, for notices that come together
AUDIT_EVERY: Final = timedelta(seconds=10)  # of wall time
REST: Final = 20.0  # times as long as an audit took it rests: a long record is read rarely
AT_ONCE: Final = 20  # series compared in one transaction
UNRECORDED: Final = 10_000  # notices; what is beyond, the next audit finds
PATIENCE: Final = 40  # looks at candles that were said to have come; then they are fetched again

Publish = Callable[[Sequence[StreamEvent]], None]
Repair = Callable[[Mapping[SeriesKey, Sequence[Range]]], None]


@dataclass(slots=True, kw_only=True)
class Auditor:
    """The ledger of one exchange's series.

    Args:
        exchange: its id.
        ledger: where it is kept.
        instruments, timeframes: whose series.
        pace: its clocks.
        publish: takes committed events.
        missing: by timeframe and instrument, what is not stored and may still come.
    """

    exchange: str
    ledger: GapLedger
    instruments: Sequence[Instrument]
    timeframes: Sequence[Timeframe]
    pace: Pace
    publish: Publish
    missing: dict[Timeframe, dict[Instrument, Sequence[Range]]] = field(default_factory=dict)
    _notices: list[Gap] = field(default_factory=list)
    _due: asyncio.Event = field(default_factory=asyncio.Event)
    _listeners: list[Callable[[Gap], None]] = field(default_factory=list)

    def note(self, gap: Gap) -> None:
        """A collector found a hole, or says what became of it."""
        if len(self._notices) < UNRECORDED:
            self._notices.append(gap)
        if gap.state is GapState.FOUND:  # those who predict are not to wait for the record of it
            known = self.missing[gap.timeframe].get(gap.instrument, ())
            self.missing[gap.timeframe][gap.instrument] = [*known, Range(gap.from_ms, gap.to_ms)]
        self._due.set()
        for hear in self._listeners:
            hear(gap)

    @contextmanager
    def heard_by(self, hear: Callable[[Gap], None]) -> Iterator[None]:
        """Tell `hear` too of each notice within."""
        self._listeners.append(hear)
        try:
            yield
        finally:
            self._listeners.remove(hear)

    def __post_init__(self) -> None:
        self.missing.update({timeframe: {} for timeframe in self.timeframes})

    async def begin(self) -> None:
        """List what is missing up to now, before anything is fetched."""
        for difference in await self._differences(until_now=True):
            await self._record(difference.notices(Cause.START))

    async def settle(self) -> None:
        """List what is missing of what was fetched, and what has come."""
        for difference in await self._differences():
            await self._record(difference.notices(Cause.START))
            self._remember((difference.instrument, difference.timeframe), difference.wanted)

    async def run(self, repair: Repair) -> None:
        """Until cancelled.

        Args:
            repair: is given what is missing, of which the collector may not know.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            tasks.create_task(self._audit(repair))

    async def _keep(self) -> None:
        """Enter notices as they come; what is said to be filled is awaited in the store."""
        patience = PATIENCE
        with Rounds(f"the record of gaps of {self.exchange}") as record:
            while True:
                await self._due.wait()
                await self.pace.wall.sleep(GATHER)
                self._due.clear()
                notices, self._notices = self._notices, []
                waiting: list[Gap] = []
                with record.going_on():  # what is lost of it the next audit finds
                    waiting = await self._record(notices)
                patience = patience - 1 if waiting == notices else PATIENCE
                if waiting and patience:
                    self._notices[:0] = waiting
                    self._due.set()

    async def _audit(self, repair: Repair) -> None:
        """Compare all with the store; what is missing twice is missing, and not on its way."""
        seen: dict[SeriesKey, list[Range]] = {}
        with Rounds(f"the audit of candles of {self.exchange}") as audit:
            while True:
                began = time.monotonic()
                with audit.going_on():
                    seen = await self._look(seen, repair)
                took = timedelta(seconds=time.monotonic() - began)
                await self.pace.wall.sleep(max(AUDIT_EVERY, REST * took))

    async def _look(
        self, before: Mapping[SeriesKey, Sequence[Range]], repair: Repair
    ) -> dict[SeriesKey, list[Range]]:
        """What is missing now, of which what was missing `before` is told."""
        try:
            differences = await self._differences()
        except CONNECTION_ERRORS as error:
            log.warning("the audit waits for the database", extra={"reason": str(error)})
            differences = []
        for one in differences:
            await self._confirm(one, before.get((one.instrument, one.timeframe), []), repair)
        return {(one.instrument, one.timeframe): one.wanted for one in differences}

    async def _confirm(self, found: Difference, before: Sequence[Range], repair: Repair) -> None:
        unlisted, wanted = (_both(spans, before) for spans in (found.unlisted, found.wanted))
        sure = Difference(
            instrument=found.instrument,
            timeframe=found.timeframe,
            unlisted=unlisted,
            present=found.present,
            wanted=wanted,
        )
        if notices := sure.notices(Cause.AUDIT):
            await self._record(notices)
        if wanted:
            repair({(found.instrument, found.timeframe): wanted})

    async def _differences(self, *, until_now: bool = False) -> list[Difference]:
        found = []
        until = self.pace.clock.now() if until_now else None
        for timeframe in self.timeframes:
            for start in range(0, len(self.instruments), AT_ONCE):
                some = self.instruments[start : start + AT_ONCE]
                found += await self.ledger.differences(some, timeframe, until=until)
        return found

    async def _record(self, notices: Sequence[Gap]) -> list[Gap]:
        """What of it is said to be filled and is not stored yet."""
        if not notices:
            return []
        write = partial(self.ledger.record, notices, at=self.pace.clock.now())
        recorded = await patiently(write, self.pace.wall)
        for key, spans in recorded.missing.items():
            self._remember(key, spans)
        self.publish(recorded.events)
        return recorded.waiting

    def _remember(self, key: SeriesKey, spans: Sequence[Range]) -> None:
        """What is missing of a series, with what was noticed since."""
        instrument, timeframe = key
        found = [
            Range(one.from_ms, one.to_ms)
            for one in self._notices
            if (one.instrument, one.timeframe, one.state) == (*key, GapState.FOUND)
        ]
        self.missing[timeframe].pop(instrument, None)
        if spans or found:
            self.missing[timeframe][instrument] = [*spans, *found]


def _both(spans: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """What is in a span of each list."""
    return [
        part for span in spans for rest in [without(span, others)] for part in without(span, rest)
    ]
