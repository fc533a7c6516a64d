"""A panel catches up with the record: from its snapshot, or from the start of the history."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product

import numpy as np

from backend.panel import ROOM, Panel, engine_place
from backend.revised_rows import Renewal, different, unsaid
from backend.revisions import Revisions
from backend.runner import Before, nothing
from backend.store import score_days
from backend.store.classes import told_after
from backend.store.columns import FeatureTable
from backend.store.snapshots import Snapshot, load
from backend.store.standing import Standing
from backend.ticks import labels_once, ticks
from backend.wiring import Store
from domain.codec import pack, unpack
from domain.events import CandleBatch, FeatureBatch, FeatureSet, PredictionBatch, SentimentBatch
from domain.market import EPOCH, Horizon, Instrument, Timeframe, from_ms, to_ms
from services.classes.grid import SLACK as KEPT
from services.features.engine import FeatureEngine
from services.features.kinds import RELEASE
from services.models.examples import SLACK
from services.sentiment.feature_set import SENTIMENT

log = logging.getLogger(__name__)

CHUNK = 200  # ticks between two commits

Report = Callable[[int, int], None]

_TOUCHED = """
SELECT DISTINCT symbol, as_of FROM ml_labels JOIN instruments USING (instrument_id)
WHERE exchange = $1 AND timeframe = $2 AND horizon = $3 AND as_of > $4
  AND direction_known_at <= $5 AND outcome IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """Where a panel stands after warm-up."""

    snapshot_at: datetime | None  # the snapshot it went on from
    as_of: datetime | None  # its newest tick
    ticks: int  # that were played


async def catch_up(
    revisions: Revisions, *, since: datetime, report: Report, before: Before = nothing
) -> CaughtUp:
    """Play the stored candles after the panel's newest snapshot through its chain.

    Rows that are stored already stay as they are: what was said stays said, is scored, and
    its signals go on. Features and labels that differ get their next revision. Predictions
    of ticks that nobody predicted are made now, as `late` or `backtest`, and scored as such;
    members whose served row stands, as what it was. Each chunk is
    committed with the state after it, so that a start that is cut short is gone on with
    where it was, and never from another beginning.
    """
    panel, instruments = revisions.panel, revisions.instruments
    store, clock = revisions.store, revisions.clock
    key = panel.key
    # The record may be ahead of a clock that was set back.
    newest = await store.history.newest_close(instruments, key.timeframe)
    until = max(clock.now(), newest or EPOCH)
    if newest is not None:
        await before(newest)
    snapshot = await load(store.readers, (key.exchange, key.timeframe, ROOM, ""), until=until)
    if snapshot is not None and not panel.fits(snapshot.payload):
        log.info("a horizon is new: %s begins with its history", key.timeframe)
        snapshot = None
    if snapshot is not None:
        panel.restore(snapshot.payload)
        if panel.lacking(snapshot.payload):
            await begin_sets(revisions, snapshot, report)
        await recall(panel, instruments, store, snapshot.as_of)
        await _recall_recent(panel, instruments, store, snapshot.as_of)
        await revisions.recover(snapshot.as_of, first=since)
        since = snapshot.as_of - key.timeframe.duration
    candles = await store.history.panel(instruments, key.timeframe, since=since, until=until)
    batches = [
        batch
        for batch in ticks(candles, exchange=key.exchange, joined=revisions.joined)
        if snapshot is None or batch.as_of > snapshot.as_of
    ]
    if batches:
        await before(batches[-1].as_of)
    await _reopen(panel, instruments, store)
    for start in range(0, len(batches), CHUNK):
        chunk = batches[start : start + CHUNK]
        said = await _said(panel, store, chunk)
        events = await asyncio.to_thread(play, panel, chunk, said)
        spoken = [batch for batches in said.values() for batch in batches]
        news = await revisions.against_record(unsaid(events, spoken))
        await store.recorder.commit_learning(
            labels_once(news),
            published_at=clock.now(),
            state=(snapshot_of(panel, chunk[-1].as_of),),
        )
        report(start + len(chunk), len(batches))
    await _agree(panel, instruments, store, clock.now())
    if len(batches) > CHUNK:
        async with store.writers.acquire() as connection:
            await score_days.gauge(connection)
    return CaughtUp(
        snapshot_at=snapshot.as_of if snapshot else None,
        as_of=batches[-1].as_of if batches else (snapshot.as_of if snapshot else None),
        ticks=len(batches),
    )


async def begin_sets(revisions: Revisions, snapshot: Snapshot, report: Report) -> None:
    """Make the rows of sets that a snapshot has no engine of, from the candles up to its close.

    They are known when they are made, as those of an instrument that joins. Then the snapshot has
    the engines too, and all else as it was; a start that is cut short begins them again.
    """
    panel, store, key = revisions.panel, revisions.store, revisions.panel.key
    instruments, step = revisions.instruments, key.timeframe.duration
    numbers = (await store.instruments.ids(instruments)).tolist()
    now_ms = to_ms(revisions.clock.now())
    ids = dict(zip(instruments, numbers, strict=True))
    renewal = Renewal(ids=ids, at_ms=now_ms, fresh_ms=now_ms)
    standing = Standing(store.readers, panel.base.id)
    oldest = [
        await Standing(store.readers, one.id).beginning(numbers, key.timeframe)
        for one in (RELEASE, panel.base)
    ]
    first = min((one for one in oldest if one is not None), default=snapshot.as_of)
    engines = [panel.engines[one.id] for one in panel.lacking(snapshot.payload)]
    at, total = first - step, (snapshot.as_of - first) // step + 1
    while at < snapshot.as_of:
        until = min(at + CHUNK * step, snapshot.as_of)
        candles = await store.history.panel(instruments, key.timeframe, since=at, until=until)
        batches = list(ticks(candles, exchange=key.exchange, joined=revisions.joined))
        made = await asyncio.to_thread(_rows_of, engines, batches)
        found = await different(renewal, standing, made, ())
        if found.features:
            await store.recorder.commit_learning(found.features, published_at=revisions.clock.now())
        at = until
        report((at - first) // step + 1, total)
    state = unpack(snapshot.payload)
    for one in panel.lacking(snapshot.payload):
        state[engine_place(one)] = panel.engines[one.id].snapshot().hex()
    whole = replace(snapshot, payload=pack(state))
    await store.recorder.commit_learning((), published_at=revisions.clock.now(), state=(whole,))


def _rows_of(
    engines: Sequence[FeatureEngine], batches: Sequence[CandleBatch]
) -> list[FeatureBatch]:
    return [engine.on_candles(batch) for batch in batches for engine in engines]


async def recall(
    panel: Panel, instruments: Sequence[Instrument], store: Store, as_of: datetime
) -> None:
    """What rooms remember of past ticks and the record has: features and open predictions."""
    key = panel.key
    for horizon, rooms in panel.rooms.items():
        kept = (2 * horizon + SLACK) * key.timeframe.duration
        table = await store.history.feature_rows(
            instruments,
            key.timeframe,
            panel.base.id,
            beside=SENTIMENT.id,
            since=as_of - kept,
            until=as_of,
        )
        touched = await store.readers.fetch(
            _TOUCHED, key.exchange, key.timeframe.value, horizon, as_of - kept, as_of
        )
        rooms.joiner.restore(
            feature_batches(table, key.exchange, key.timeframe, panel.base.feature_set),
            [(Instrument(key.exchange, row["symbol"]), to_ms(row["as_of"])) for row in touched],
        )
        ahead = Horizon(key.timeframe, horizon)
        pending = await store.history.pending_predictions(
            ahead,
            exchange=key.exchange,
            after=as_of - kept,
            until=as_of,
            judged_after=as_of - ahead.duration,
        )
        rooms.scorekeeper.restore(pending)
    for horizon, classes in panel.classes.rooms.items():
        ahead = Horizon(key.timeframe, horizon)
        after = as_of - ahead.duration - KEPT * key.timeframe.duration
        classes.recall(await told_after(store.readers, key.exchange, ahead, after))


async def _recall_recent(
    panel: Panel, instruments: Sequence[Instrument], store: Store, as_of: datetime
) -> None:
    """The newest rows of the last closes, where a model reads what was before a row."""
    key, step = panel.key, panel.key.timeframe.duration
    for rooms, of in product(panel.rooms.values(), panel.sets):
        kept = rooms.predictor
        recent = kept.recent if of == panel.base else kept.beside.recent
        if recent.candles:
            table = await store.history.rows_at(
                instruments,
                key.timeframe,
                [as_of - back * step for back in range(recent.candles + 1)],
                feature_set=of.id,
                beside=SENTIMENT.id,
                until=datetime.max.replace(tzinfo=UTC),
            )
            recent.restore(table.columns, table.instruments, table.as_of_ms, table.values)


async def _reopen(panel: Panel, instruments: Sequence[Instrument], store: Store) -> None:
    """Give the books what is open by the record, and up to which close it was answered."""
    key = panel.key
    opened = await store.history.open_signals(key.exchange, key.timeframe)
    for horizon, rooms in panel.rooms.items():
        served = await store.history.newest_served(instruments, Horizon(key.timeframe, horizon))
        ours = [one for one in opened if one.horizon == horizon]
        rooms.book.recall(ours, answered=max(served.values(), default=None))


async def _agree(
    panel: Panel, instruments: Sequence[Instrument], store: Store, at: datetime
) -> None:
    """Go on after what was told of incomplete labels before.

    A touch that was told from candles that have changed since is told anew, or taken back.
    """
    key, newest = panel.key, panel.engine.as_of
    if newest is None:
        return
    numbers = (await store.instruments.ids(instruments)).tolist()
    names = dict(zip(numbers, instruments, strict=True))
    standing, told = Standing(store.readers, panel.base.id), []
    for horizon, rooms in panel.rooms.items():
        first = newest - horizon * key.timeframe.duration
        stand = await standing.labels(numbers, key.timeframe, horizon, first=first, last=newest)
        halves = {
            (names[number], as_of_ms): (row.revision, np.array(row.direction))
            for (number, as_of_ms), row in stand.items()
            if not row.complete
        }
        told += rooms.labeller.agree(halves, to_ms(at))
    if told:
        await store.recorder.commit_learning(told, published_at=at)


async def _said(
    panel: Panel, store: Store, batches: Sequence[CandleBatch]
) -> dict[datetime, list[PredictionBatch]]:
    """The predictions that were made of these ticks before, by close."""
    first, last = batches[0].as_of - panel.key.timeframe.duration, batches[-1].as_of
    said: dict[datetime, list[PredictionBatch]] = {}
    for horizon in panel.rooms:
        found = await store.history.pending_predictions(
            Horizon(panel.key.timeframe, horizon),
            exchange=panel.key.exchange,
            after=first,
            until=last,
            judged_after=first,
        )
        for batch in found:
            said.setdefault(batch.as_of, []).append(batch)
    return said


def feature_batches(
    table: FeatureTable, exchange: str, timeframe: Timeframe, of: FeatureSet
) -> Iterable[FeatureBatch]:
    """The batches that the rows were computed as."""
    edges = np.flatnonzero(np.diff(table.as_of_ms)) + 1
    for rows in np.split(np.arange(len(table)), edges) if len(table) else ():
        as_of = from_ms(int(table.as_of_ms[rows[0]]))
        instruments = tuple(table.instruments[row] for row in rows.tolist())
        told = SentimentBatch(
            exchange=exchange,
            timeframe=timeframe,
            as_of=as_of,
            instruments=instruments,
            feature_set=SENTIMENT,
            values=table.values[rows, len(of.columns) :],
            revision=np.ones(len(rows), dtype=np.int64),
            known_at=as_of,
            status={},
        )
        yield FeatureBatch(
            exchange=exchange,
            timeframe=timeframe,
            as_of=as_of,
            instruments=instruments,
            feature_set=of,
            values=table.values[rows, : len(of.columns)],
            coverage=table.coverage[rows],
            revision=table.revision[rows],
            candle_revision=table.candle_revision[rows],
            known_at=as_of,
            told=told,
        )


def play(
    panel: Panel,
    batches: Sequence[CandleBatch],
    said: Mapping[datetime, Sequence[PredictionBatch]],
) -> list[object]:
    """Run ticks of history through the panel; the rows they make.

    Args:
        panel: whose state goes on.
        batches: the ticks, in order.
        said: the predictions that stand of some of them, by close. They are what is scored,
            not those that the panel makes again.
    """
    events: list[object] = []
    for batch in batches:
        panel.seat_due(batch.as_of)
        for rooms in panel.rooms.values():
            rooms.recall(said.get(batch.as_of, ()))
        hot, _ = panel.hot.run(batch)
        cold, _ = panel.cold.run(batch, *hot)
        events += [*hot, *cold]
    return events


def snapshot_of(panel: Panel, as_of: datetime) -> Snapshot:
    """The panel's state after the tick at `as_of`."""
    return Snapshot(
        exchange=panel.key.exchange,
        timeframe=panel.key.timeframe,
        room=ROOM,
        scope="",
        as_of=as_of,
        payload=panel.snapshot(),
    )
