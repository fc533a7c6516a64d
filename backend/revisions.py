"""A candle of the past comes or changes: what rests on it is made again, beside the ticks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from backend.panel import ROOM, Panel, engine_place
from backend.revised_rows import Renewal, complete, different, unjudged
from backend.store.database import patiently
from backend.store.instruments import NOT_YET
from backend.store.snapshots import Snapshot, load
from backend.store.standing import Standing
from backend.ticks import ticks
from backend.wiring import Store
from domain.codec import pack, unpack
from domain.events import CandleBatch, FeatureBatch, LabelBatch, OutcomeBatch, SentimentBatch
from domain.market import EPOCH, MILLISECOND, Instrument, from_ms, to_ms
from domain.ports import Clock
from services.features.extended import begin
from services.labels.labeller import Labeller

log = logging.getLogger(__name__)

NOTES = "revisions"  # room of the note that says from where on rows are to be made again
PIECE = 20  # ticks between two commits: their rows are spelt on the event loop
LAST = 4  # ticks that may be made again while the next one waits
SKEW = timedelta(days=1)  # a note may be newer than a clock that was set back


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """What the candle rooms made of some ticks."""

    features: list[FeatureBatch]
    labels: list[LabelBatch]


class CandleRooms:
    """The rooms of a panel that follow from its candles alone, apart from it."""

    def __init__(self, panel: Panel) -> None:
        key, cost_bps = panel.key, panel.policy.cost_bps
        self.sets = panel.sets
        self.engines = {one.id: begin(one, key.exchange, key.timeframe) for one in self.sets}
        self._sentiment = panel.sentiment
        self.labellers = {
            horizon: Labeller(key.exchange, key.timeframe, horizon, cost_bps=cost_bps)
            for horizon in panel.rooms
        }

    def restore(self, panel_state: bytes) -> None:
        """Go on from their part of a panel's snapshot."""
        state = unpack(panel_state)
        for one in self.sets:
            self.engines[one.id].restore(bytes.fromhex(state[engine_place(one)]))
        for horizon, labeller in self.labellers.items():
            labeller.restore(bytes.fromhex(state[f"{horizon}/labeller"]))

    def placed_in(self, panel_state: bytes) -> bytes:
        """A panel's snapshot with their state in place of what it had."""
        state = unpack(panel_state)
        for one in self.sets:
            state[engine_place(one)] = self.engines[one.id].snapshot().hex()
        for horizon, labeller in self.labellers.items():
            state[f"{horizon}/labeller"] = labeller.snapshot().hex()
        return pack(state)

    def walk(self, batches: Iterable[CandleBatch]) -> Walked:
        """Take ticks."""
        features: list[FeatureBatch] = []
        labels: list[LabelBatch] = []
        for batch in batches:
            base, *beside = (engine.on_candles(batch) for engine in self.engines.values())
            features.append(self._sentiment.beside(base))
            features += [replace(one, told=features[-1].told) for one in beside]
            for labeller in self.labellers.values():
                labels += labeller.on_candles(batch)
        return Walked(features=features, labels=labels)


@dataclass(slots=True, kw_only=True)
class _Pass:
    """One way from before the first wrong tick to the newest."""

    since: datetime  # the first tick whose rows may differ
    at: datetime  # the newest tick that was walked
    rooms: CandleRooms
    stale: list[Snapshot]  # of the panel, from `since` on, oldest first
    mended: list[Snapshot] = field(default_factory=list)
    recent: list[FeatureBatch] = field(default_factory=list)  # revised rows
    filled: list[LabelBatch] = field(default_factory=list)  # not known before
    labels: list[LabelBatch] = field(default_factory=list)  # all that were told anew


@dataclass(slots=True, kw_only=True)
class Revisions:
    """One panel's.

    The newest revision of features and labels follows from the stored candles alone,
    whatever the order in which their versions came. A note of what is still to be done is
    stored with the candle that makes it necessary, so that nothing is forgotten in between.

    Args:
        panel: goes on from the corrected state.
        joined: all that were ever watched; closes up to then were drawn without them.
        store: candles are read from it, rows are compared with it.
        clock: the market's time.
        wall: of waits for the database.
        turn: held while a tick runs.
    """

    panel: Panel
    joined: dict[Instrument, datetime | None]
    store: Store
    clock: Clock
    wall: Clock
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _since: datetime | None = None
    _only: set[Instrument] = field(default_factory=set)  # whose rows may differ; empty: all
    _latest: datetime = EPOCH  # moment of a note, or of rows
    _passed: datetime = EPOCH  # where the pass under way is
    _earlier: bool = False  # a candle came that it has passed by
    _some: asyncio.Event = field(default_factory=asyncio.Event)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _standing: Standing = field(init=False)

    def __post_init__(self) -> None:
        self._standing = Standing(self.store.readers, self.panel.base.id)

    @property
    def instruments(self) -> Sequence[Instrument]:
        """Whose candles the panel's state rests on, sorted."""
        return sorted(self.joined)

    @property
    def due(self) -> bool:
        """Whether the panel's state rests on candles that have changed since."""
        return self._since is not None

    def note(self, as_of: datetime, *, of: Instrument | None = None) -> Snapshot:
        """A candle of the tick at `as_of` is news; what is to be stored with it.

        Args:
            as_of: the close.
            of: the one whose rows rest on it alone; None: those of all do.
        """
        alone = of is not None and (self._since is None or bool(self._only))
        self._only = {*self._only, of} if of is not None and alone else set()
        self._since = as_of if self._since is None else min(self._since, as_of)
        self._earlier = self._earlier or as_of <= self._passed
        self._some.set()
        self._settled.clear()
        return self._note(self._since)

    async def take_in(self, instrument: Instrument, *, first: datetime | None) -> None:
        """Make the rows of one that is new, or was away; those of others stay.

        Args:
            instrument: one that is new is in no cross-section before it `joins`.
            first: the first close of its candles that were stored meanwhile; None: none was.
        """
        async with self.turn:
            new = self.joined.setdefault(instrument, NOT_YET) == NOT_YET
            if first is None:
                return
            note = self.note(first, of=instrument if new else None)
            await patiently(lambda: self._commit([], [note]), self.wall)
        await self._settled.wait()
        for rooms in self.panel.rooms.values():
            rooms.predictor.begins(instrument, first)

    def stranger(self, instruments: Sequence[Instrument]) -> bool:
        """Whether one of them was in no cross-section yet."""
        return any(self.joined.get(one, NOT_YET) == NOT_YET for one in instruments)

    def joins(self, joined: Mapping[Instrument, datetime | None]) -> None:
        """Those that are new have their place in the cross-sections after these moments."""
        for instrument, at in joined.items():
            if self.joined.get(instrument, NOT_YET) == NOT_YET:
                self.joined[instrument] = at

    async def run(self) -> None:
        """Work for ever on what is noted."""
        while True:
            await self._some.wait()
            self._some.clear()
            await patiently(self.settle, self.wall)

    async def recover(self, until: datetime, *, first: datetime) -> None:
        """At the start, once the panel has its snapshot of `until`.

        Does what a note asks for, and what follows from candles that were stored since
        `first` while no panel ran.
        """
        key, numbers = self.panel.key, list((await self._ids()).values())
        scope = (key.exchange, key.timeframe, NOTES, "")
        wrong: list[datetime] = []
        note = await load(self.store.readers, scope, until=self.clock.now() + SKEW)
        if note is not None:
            self._latest = note.as_of
            since_ms = unpack(note.payload)["since_ms"]
            wrong += [] if since_ms is None else [from_ms(since_ms)]
        beginning = await self._standing.beginning(numbers, key.timeframe)
        if beginning is not None:
            found = await self._standing.unanswered(
                numbers, key.timeframe, first=max(first, beginning), last=until
            )
            wrong += [] if found is None else [found]
        if wrong:
            log.info("rows are made again", extra={"since": min(wrong).isoformat()})
            await self._commit([], [self.note(min(wrong))])
            await self.settle()

    async def against_record(self, events: Sequence[object]) -> list[object]:
        """What to write of the events of ticks at the start, which may have been answered.

        Of features and labels only what is new or differs, with its revision. No score of
        what an earlier revision of a label has judged.
        """
        now_ms = to_ms(self.clock.now())
        renewal = Renewal(ids=await self._ids(), at_ms=now_ms, fresh_ms=0)
        features = [event for event in events if isinstance(event, FeatureBatch)]
        labels = [event for event in events if isinstance(event, LabelBatch)]
        found = await different(renewal, self._standing, features, labels)
        rest = [
            unjudged(event, found.judged) if isinstance(event, OutcomeBatch) else event
            for event in events
            if not isinstance(event, FeatureBatch | SentimentBatch | LabelBatch)
        ]
        return [
            *found.features,
            *found.told,
            *(one for one in rest if one is not None),
            *found.labels,
        ]

    async def settle(self) -> None:
        """Do what is noted.

        Raises:
            StoreUnavailableError and others of the connection: call it again.
        """
        step = self.panel.key.timeframe.duration
        while True:
            async with self.turn:  # the tick that told of it has committed
                since = self._since
                if since is None or self.panel.engine.as_of is None:
                    self._settled.set()
                    return
                self._earlier, self._passed = False, since - MILLISECOND
            work = await self._begin(since)
            while (ahead := self._newest() - work.at) > LAST * step:
                piece = PIECE * (len(self.joined) // len(self._only) if self._only else 1)
                until = work.at + min(piece * step, ahead - step)
                async with self.turn:  # what was noted before is stored, or it is noted as passed
                    self._passed = max(until, self._passed)
                await self._advance(work, until)
            async with self.turn:
                if not self._earlier:
                    await self._finish(work)
                    return

    def _newest(self) -> datetime:
        return self.panel.engine.as_of or EPOCH

    async def _begin(self, since: datetime) -> _Pass:
        """From the newest snapshot before `since`, else from the first candle."""
        key, rooms = self.panel.key, CandleRooms(self.panel)
        scope = (key.exchange, key.timeframe, ROOM, "")
        stale: list[Snapshot] = []
        until = max(self.clock.now(), self._newest())
        while (found := await load(self.store.readers, scope, until=until)) is not None:
            if not self.panel.fits(found.payload):
                break  # it and those before are of other horizons
            if found.as_of < since and not self.panel.lacking(found.payload):
                await asyncio.to_thread(rooms.restore, found.payload)
                return _Pass(since=since, at=found.as_of, rooms=rooms, stale=stale)
            stale.insert(0, found)
            until = found.as_of - MILLISECOND
        numbers = list((await self._ids()).values())
        first = min(await self._standing.beginning(numbers, key.timeframe) or since, since)
        return _Pass(since=since, at=first - key.timeframe.duration, rooms=rooms, stale=stale)

    async def _advance(self, work: _Pass, until: datetime) -> None:
        """Walk on to `until`, or to a snapshot before it, and commit the rows that differ."""
        if work.stale:
            until = min(until, work.stale[0].as_of)
        self._passed = max(until, work.since - MILLISECOND)  # it writes nothing of before
        key = self.panel.key
        candles = await self.store.history.panel(
            self.instruments, key.timeframe, since=work.at, until=until
        )
        batches = list(ticks(candles, exchange=key.exchange, joined=self.joined))
        walked = await asyncio.to_thread(work.rooms.walk, batches)
        work.at = until
        if work.stale and work.stale[0].as_of == until:
            old = work.stale.pop(0)
            payload = await asyncio.to_thread(work.rooms.placed_in, old.payload)
            work.mended.append(replace(old, payload=payload))
        await self._write(work, walked)

    async def _write(self, work: _Pass, walked: Walked) -> None:
        now_ms, first_ms = to_ms(self._moment()), to_ms(work.since)
        length_ms = self.panel.key.timeframe.ms
        features = [
            batch
            for batch in walked.features
            if batch.as_of >= work.since and self._concerns(batch)
        ]
        labels = [
            batch.take(np.flatnonzero(batch.as_of_ms + batch.horizon * length_ms >= first_ms))
            for batch in map(complete, filter(self._concerns, walked.labels))
        ]
        ids = {one: number for one, number in (await self._ids()).items() if self._may_differ(one)}
        renewal = Renewal(ids=ids, at_ms=now_ms, fresh_ms=now_ms)
        found = await different(renewal, self._standing, features, labels)
        work.filled += found.filled
        work.recent += found.features
        remembered = self._newest() - self.panel.remembers * length_ms * MILLISECOND
        work.recent = [batch for batch in work.recent if batch.as_of >= remembered]
        work.filled = [batch for batch in work.filled if batch.as_of_ms.max() >= to_ms(remembered)]
        work.labels += found.labels if self.panel.classes.kinds else []
        if found.features or found.told or found.labels:
            await self._commit([*found.features, *found.told, *_joined(found.labels)])

    def _concerns(self, batch: FeatureBatch | LabelBatch) -> bool:
        """Whether rows of it may differ; one that is new has batches of its own."""
        return not self._only or self._only.issuperset(batch.instruments)

    def _may_differ(self, instrument: Instrument) -> bool:
        return not self._only or instrument in self._only

    async def _finish(self, work: _Pass) -> None:
        """The last ticks; then the panel goes on from the corrected state."""
        while work.at < self._newest():
            await self._advance(work, self._newest())
        now_ms = to_ms(self.clock.now())
        labellers: dict[int, Labeller] = {}
        touched: list[LabelBatch] = []
        for horizon, rooms in self.panel.rooms.items():
            labellers[horizon], told = rooms.labeller.corrected(
                work.rooms.labellers[horizon], now_ms
            )
            touched += told
        if touched:
            await self._commit(touched)
        self.panel.engines = work.rooms.engines
        for horizon, rooms in self.panel.rooms.items():
            rooms.labeller = labellers[horizon]
            for batch in work.recent:
                rooms.revise(batch)
        # A label that was void or not there is known only now: it is scored and learnt.
        learnt, _ = await asyncio.to_thread(self.panel.cold.run, *work.filled)
        learnt += [one for batch in work.labels for one in self.panel.classes.on_labels(batch)]
        state = [*work.mended, self._note(None)]
        await patiently(lambda: self._commit(learnt, state), self.wall)
        self._since, self._only = None, set()
        self._settled.set()

    async def _ids(self) -> dict[Instrument, int]:
        instruments = self.instruments
        ids = await self.store.instruments.ids(instruments)
        return dict(zip(instruments, ids.tolist(), strict=True))

    async def _commit(self, events: Sequence[object], state: Sequence[Snapshot] = ()) -> None:
        await self.store.recorder.commit_learning(
            events, published_at=self.clock.now(), state=state
        )

    def _moment(self) -> datetime:
        """Later than any before, also where the clock is held or was set back."""
        self._latest = max(self.clock.now(), self._latest + MILLISECOND)
        return self._latest

    def _note(self, since: datetime | None) -> Snapshot:
        """The newest note counts."""
        return Snapshot(
            exchange=self.panel.key.exchange,
            timeframe=self.panel.key.timeframe,
            room=NOTES,
            scope="",
            as_of=self._moment(),
            payload=pack({"since_ms": None if since is None else to_ms(since)}),
        )


def _joined(labels: Sequence[LabelBatch]) -> list[LabelBatch]:
    """Of each horizon one batch: a batch is merged on its own, and one row is as dear as many."""
    by_horizon: dict[int, list[LabelBatch]] = {}
    for batch in labels:
        by_horizon.setdefault(batch.horizon, []).append(batch)
    return [LabelBatch.joined(batches) for batches in by_horizon.values()]
