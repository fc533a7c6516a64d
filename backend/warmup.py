"""A panel catches up with the record: from its snapshot, or from the start of the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from backend.panel import Panel
from backend.runner import kept
from backend.store.columns import FeatureTable
from backend.store.snapshots import Snapshot, load
from backend.ticks import ticks
from backend.wiring import Store
from domain.events import CandleBatch, FeatureBatch
from domain.market import Instrument, Timeframe, from_ms, to_ms
from domain.ports import Clock
from services.features.feature_set import OHLCV
from services.models.examples import SLACK

CHUNK = 200  # ticks between two commits
ROOM = "panel"

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
    panel: Panel,
    instruments: Sequence[Instrument],
    *,
    store: Store,
    clock: Clock,
    since: datetime,
    report: Report,
) -> CaughtUp:
    """Play the stored candles after the panel's newest snapshot through its chain.

    Rows that are stored already stay as they are: what was said stays said. Predictions
    of ticks that nobody predicted are made now, as `late` or `backtest`.
    """
    key = panel.key
    snapshot = await load(store.readers, (key.exchange, key.timeframe, ROOM, ""), until=clock.now())
    if snapshot is not None:
        panel.restore(snapshot.payload)
        since = snapshot.as_of - key.timeframe.duration
        await recall(panel, instruments, store, snapshot.as_of)
    candles = await store.history.panel(
        sorted(instruments), key.timeframe, since=since, until=clock.now()
    )
    batches = [
        batch
        for batch in ticks(candles, exchange=key.exchange)
        if snapshot is None or batch.as_of > snapshot.as_of
    ]
    for start in range(0, len(batches), CHUNK):
        chunk = batches[start : start + CHUNK]
        events = await asyncio.to_thread(play, panel, chunk)
        await store.recorder.commit_learning(events, published_at=clock.now())
        report(start + len(chunk), len(batches))
    return CaughtUp(
        snapshot_at=snapshot.as_of if snapshot else None,
        as_of=batches[-1].as_of if batches else (snapshot.as_of if snapshot else None),
        ticks=len(batches),
    )


async def recall(
    panel: Panel, instruments: Sequence[Instrument], store: Store, as_of: datetime
) -> None:
    """What rooms remember of past ticks and the record has: features and open predictions."""
    key = panel.key
    for horizon, rooms in panel.rooms.items():
        kept = (2 * horizon + SLACK) * key.timeframe.duration
        table = await store.history.feature_rows(
            instruments, key.timeframe, OHLCV.id, since=as_of - kept, until=as_of
        )
        touched = await store.readers.fetch(
            _TOUCHED, key.exchange, key.timeframe.value, horizon, as_of - kept, as_of
        )
        rooms.joiner.restore(
            feature_batches(table, key.exchange, key.timeframe),
            [(Instrument(key.exchange, row["symbol"]), to_ms(row["as_of"])) for row in touched],
        )
        pending = await store.history.pending_predictions(
            key.exchange, key.timeframe, horizon, after=as_of - kept
        )
        rooms.scorekeeper.restore([batch for batch in pending if batch.as_of <= as_of])


def feature_batches(
    table: FeatureTable, exchange: str, timeframe: Timeframe
) -> Iterable[FeatureBatch]:
    """The batches that the rows were computed as."""
    edges = np.flatnonzero(np.diff(table.as_of_ms)) + 1
    for rows in np.split(np.arange(len(table)), edges) if len(table) else ():
        as_of = from_ms(int(table.as_of_ms[rows[0]]))
        yield FeatureBatch(
            exchange=exchange,
            timeframe=timeframe,
            as_of=as_of,
            instruments=tuple(table.instruments[row] for row in rows.tolist()),
            feature_set=OHLCV,
            values=table.values[rows],
            coverage=table.coverage[rows],
            revision=table.revision[rows],
            candle_revision=table.candle_revision[rows],
            known_at=as_of,
        )


def play(panel: Panel, batches: Sequence[CandleBatch]) -> list[object]:
    """Run ticks of history through the panel; the rows they make."""
    events: list[object] = []
    for batch in batches:
        panel.seat_due(batch.as_of)
        hot, _ = panel.hot.run(batch)
        cold, _ = panel.cold.run(batch, *hot)
        events += kept([*hot, *cold])
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
