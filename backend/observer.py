"""What watches a panel's ticks: freshness, snapshots, and the learning that they make due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn

import asyncpg

from backend.api.status import Status
from backend.background import Rounds
from backend.feed import Hold
from backend.learning.learning import Learning
from backend.learning.plan import Due
from backend.panel import Panel, SeatChange
from backend.revisions import Revisions
from backend.runner import Publish
from backend.store.database import patiently
from backend.store.snapshots import Snapshot
from backend.warmup import snapshot_of
from backend.wiring import Store
from domain.errors import AlphaPulseError, LeaseLostError, StoreUnavailableError
from domain.events import CandleBatch
from domain.ports import Clock
from domain.topics import panel_key
from services.classes.rooms import ClassSeat

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Observer:
    """One panel's.

    Args:
        hold: stops the market's clock while a fit runs, where the market is simulated.
        hold_limit: how long it may; None: it is never held.
        told: what `learning` emits, until it is committed and published.
        wall: of waits for the database.
        every_bars: ticks between two snapshots.
        as_of: newest tick of the panel.
        revisions: what candles of the past make necessary.
    """

    panel: Panel
    learning: Learning
    told: list[object]
    publish: Publish
    clock: Clock
    wall: Clock
    store: Store
    status: Status
    hold: Hold
    hold_limit: timedelta | None
    every_bars: int
    as_of: datetime | None
    revisions: Revisions
    _since_snapshot: int = 0
    _snapshot_due: bool = False
    _training: set[asyncio.Task[None]] = field(default_factory=set)
    _refused: asyncio.Queue[LeaseLostError] = field(default_factory=asyncio.Queue)
    _work: Rounds = field(init=False)

    def __post_init__(self) -> None:
        key = self.panel.key
        self._work = Rounds(f"the learning of {panel_key(key.exchange, key.timeframe)}")

    def seated(self, changes: Sequence[SeatChange | ClassSeat]) -> None:
        """A snapshot follows each change of seats, so that recovery never crosses one."""
        if changes:
            self._snapshot_due = True

    def states(self, as_of: datetime) -> Sequence[Snapshot]:
        self.as_of = as_of if self.as_of is None else max(self.as_of, as_of)
        self._since_snapshot += 1
        due = self._snapshot_due or self._since_snapshot >= self.every_bars
        if not due or self.revisions.due:
            return ()
        self._snapshot_due, self._since_snapshot = False, 0
        return (snapshot_of(self.panel, as_of),)

    def past(self, candles: CandleBatch) -> Sequence[Snapshot]:
        return (self.revisions.note(candles.as_of),)

    async def after_tick(self, candles: CandleBatch) -> None:
        self.status.predicted(candles.timeframe, candles.instruments, candles.as_of)
        if due := self.learning.due(candles.as_of):
            task = asyncio.create_task(self._learn(due))
            self._training.add(task)
            task.add_done_callback(self._training.discard)

    async def close(self, *, keep: bool) -> None:
        """Stop the training and, with `keep`, store the panel's state.

        Args:
            keep: whether the record has everything that the panel's state has.

        A state that rests on candles which have changed since is not kept.
        """
        for task in tuple(self._training):
            task.cancel()
        await asyncio.gather(*self._training, return_exceptions=True)
        self._work.close()
        if self.as_of is None or not keep or self.revisions.due:
            return
        try:
            await self.store.recorder.commit_learning(
                (), published_at=self.as_of, state=(snapshot_of(self.panel, self.as_of),)
            )
        except StoreUnavailableError as error:
            log.warning("state not kept; it is computed again", extra={"reason": str(error)})

    async def refused(self) -> NoReturn:
        """Until cancelled, or until what is learnt beside the ticks is refused.

        Raises:
            LeaseLostError: the panel is another process's now.
        """
        raise await self._refused.get()

    async def _learn(self, due: Due) -> None:
        try:
            with self._work.going_on():
                await self._do(due)
                await self._tell()
        except LeaseLostError as error:
            self._refused.put_nowait(error)

    async def _do(self, due: Due) -> None:
        name = f"training {self.panel.key.exchange} {self.panel.key.timeframe}"
        training = asyncio.create_task(
            self.learning.run(due, report=lambda done, total: self.status.report(name, done, total))
        )
        try:
            if self.hold_limit is not None and due.takes_time:
                await self._hold_for(training, self.hold_limit)
            await training
        except LeaseLostError:
            raise
        except (AlphaPulseError, OSError, ValueError, asyncpg.PostgresError) as error:
            log.warning("a training failed; what serves goes on", extra={"reason": str(error)})
        finally:
            training.cancel()

    async def _hold_for(self, training: asyncio.Task[None], limit: timedelta) -> None:
        """Stop the market's clock until the training is over, or we are."""
        try:
            await self.hold(True)  # noqa: FBT003 - the shape of Hold
            await asyncio.wait({training}, timeout=limit.total_seconds())
        finally:
            try:
                await self.hold(False)  # noqa: FBT003 - the shape of Hold
            except AlphaPulseError as error:  # in its place a cancellation would be lost
                log.warning("the market's clock may stand still", extra={"reason": str(error)})

    async def roll_back(self, horizon: int, name: str) -> int | None:
        """By hand: as `Learning.roll_back`, and told."""
        before = await self.learning.roll_back(horizon, name)
        await self._tell()
        return before

    async def _tell(self) -> None:
        events, self.told[:] = list(self.told), []
        committed = await patiently(
            lambda: self.store.recorder.commit_learning(events, published_at=self.clock.now()),
            self.wall,
        )
        self.publish(committed)
