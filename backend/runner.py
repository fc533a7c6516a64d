"""A panel's ticks, one after another: hot chain, one transaction, publish, then the rest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from backend import metrics
from backend.panel import Panel, SeatChange
from backend.store.database import patiently
from backend.store.recorder import CrossSection
from backend.store.snapshots import Snapshot
from backend.store.stream_log import StreamEvent
from domain.events import Candle, CandleBatch, PredictionBatch, Role
from domain.ports import Clock
from services.classes.rooms import ClassSeat
from services.features.engine import OutOfOrderError

log = logging.getLogger(__name__)

T = TypeVar("T")
Publish = Callable[[Sequence[StreamEvent]], None]
Before = Callable[[datetime], Awaitable[None]]

FINISH_WITHIN = timedelta(seconds=10)  # wall time that a tick has once we are to stop


async def nothing(close: datetime) -> None:
    """Where all is in memory."""
    del close


class TickRecorder(Protocol):
    """What a tick needs of the store; both calls may be repeated after a lost connection."""

    async def commit_tick(
        self,
        events: Sequence[object],
        *,
        published_at: datetime,
        versions: Sequence[Candle] | None = None,
        cross_section: CrossSection | None = None,
        state: Sequence[Snapshot] = (),
    ) -> list[StreamEvent]: ...

    async def commit_learning(
        self, events: Sequence[object], *, published_at: datetime, state: Sequence[Snapshot] = ()
    ) -> list[StreamEvent]: ...


class TickObserver(Protocol):
    """What watches the ticks: training, snapshots, freshness."""

    def seated(self, changes: Sequence[SeatChange | ClassSeat]) -> None: ...

    def states(self, as_of: datetime) -> Sequence[Snapshot]:
        """What is to be kept with the second transaction of this tick."""
        ...

    def past(self, candles: CandleBatch) -> Sequence[Snapshot]:
        """What is to be kept with candles that came after their tick was answered."""
        ...

    async def after_tick(self, candles: CandleBatch) -> None: ...


class Lane:
    """What follows a tick waits while another panel's tick is on its way to subscribers."""

    def __init__(self) -> None:
        self._ticks = 0
        self._free = asyncio.Event()
        self._free.set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """From a tick's candles to its publication."""
        self._ticks += 1
        self._free.clear()
        try:
            yield
        finally:
            self._ticks -= 1
            if not self._ticks:
                self._free.set()

    async def free(self) -> None:
        """Wait until no tick is on its way; each panel has one at most before it waits too."""
        await self._free.wait()


@dataclass(slots=True, kw_only=True)
class Runner:
    """Runs one panel.

    Args:
        panel: the rooms.
        recorder: where rows go, before anybody hears of them.
        publish: takes committed stream events.
        clock: the market's time.
        wall: of waits for the database.
        observer: what watches the ticks.
        turn: held while a tick runs.
        lane: shared by the panels of a process.
        before: is awaited before a close is answered; what counts as known at it is in memory then.
    """

    panel: Panel
    recorder: TickRecorder
    publish: Publish
    clock: Clock
    wall: Clock
    observer: TickObserver
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    lane: Lane = field(default_factory=Lane)
    before: Before = nothing
    whole: bool = True  # False while the panel is ahead of the record

    async def on_candles(self, candles: CandleBatch, *, deadline: bool = False) -> None:
        """Take one tick from candles to everything that follows from it.

        A cancellation waits for the end of the tick, unless the database is away.
        """
        tick = asyncio.create_task(self._tick(candles, deadline=deadline))
        try:
            await asyncio.shield(tick)
        except asyncio.CancelledError:
            await asyncio.wait({tick}, timeout=FINISH_WITHIN.total_seconds())
            tick.cancel()
            raise

    async def _tick(self, candles: CandleBatch, *, deadline: bool) -> None:
        async with self.turn:
            self.whole = False
            with self.lane.taken():
                hot = await self._answer(candles, deadline=deadline)
                await asyncio.sleep(0)  # the frames leave before the rest wants the interpreter
            if hot is not None:
                await self.lane.free()
                await self._learn(candles, hot)
            self.whole = True
        if hot is not None:
            await self.observer.after_tick(candles)

    async def _answer(self, candles: CandleBatch, *, deadline: bool) -> list[object] | None:
        """Commit and publish what subscribers wait for; None for candles of an answered tick."""
        arrived = self.clock.now()
        await self.before(candles.as_of)
        self.observer.seated(self.panel.seat_due(candles.as_of))
        self.panel.on_gaps(candles.holes)
        try:
            hot, spent = self.panel.hot.run(candles)
        except OutOfOrderError as error:
            # A revised or repaired candle of the past: what was said stays. Its features
            # and labels are made again beside the ticks.
            log.info("a past candle is kept", extra={"reason": str(error)})
            await self._keep(candles)
            return None
        drawn = CrossSection(
            exchange=candles.exchange,
            timeframe=candles.timeframe,
            as_of=candles.as_of,
            instruments=candles.instruments,
            arrived_at=arrived,
            deadline=deadline,
            stage_us=spent,
        )
        news = self.observer.past(candles) if candles.late else ()
        moment = self._moment(candles, hot)
        events = await self._commit(
            "commit",
            lambda: self.recorder.commit_tick(
                [candles, *(event for event in hot if not _waits(event))],
                published_at=moment,
                versions=candles.told or None,
                cross_section=None if candles.late else drawn,
                state=news,
            ),
        )
        self.publish(events)
        metrics.count_tick(candles, hot)
        metrics.time_stages(spent)
        return hot

    async def _learn(self, candles: CandleBatch, hot: Sequence[object]) -> None:
        """The other forecasters' rows, labels, scores and learning, in a second transaction."""
        cold, spent = await asyncio.to_thread(self.panel.cold.run, candles, *hot)
        second = [event for event in hot if _waits(event)]
        state = self.observer.states(candles.as_of)
        moment = self._moment(candles, cold)
        events = await self._commit(
            "second commit",
            lambda: self.recorder.commit_learning(
                [*second, *cold], published_at=moment, state=state
            ),
        )
        self.publish(events)
        metrics.time_stages(spent)

    async def _keep(self, candles: CandleBatch) -> None:
        """Commit and publish candles that the panel no longer answers."""
        news = self.observer.past(candles)
        moment = self._moment(candles)
        events = await self._commit(
            "commit",
            lambda: self.recorder.commit_tick(
                [candles], published_at=moment, versions=candles.told or None, state=news
            ),
        )
        self.publish(events)
        metrics.count_tick(candles)

    def _moment(self, candles: CandleBatch, made: Sequence[object] = ()) -> datetime:
        """When a commit begins: the same at each try of it, and after all that it tells of."""
        said = [event.made_at for event in made if isinstance(event, PredictionBatch)]
        return max(self.clock.now(), candles.known_at, *said)

    async def _commit(self, stage: str, commit: Callable[[], Awaitable[T]]) -> T:
        """Patiently: ticks wait in the bus meanwhile."""
        began = time.perf_counter()
        committed = await patiently(commit, self.wall)
        metrics.STAGE_SECONDS.labels(stage).observe(time.perf_counter() - began)
        return committed


def _waits(event: object) -> bool:
    """Whether it belongs to the second transaction."""
    return isinstance(event, PredictionBatch) and event.role is not Role.CHAMPION
