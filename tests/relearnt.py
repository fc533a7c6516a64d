"""What learns with each label, beside the same taught once over the recorded candles."""

from __future__ import annotations

import asyncio
from typing import Any

from backend.panel import ROOM, Panel, PanelKey
from backend.settings import Settings
from backend.store import published
from backend.store.snapshots import load
from backend.ticks import ticks
from backend.warmup import play
from backend.wiring import Store, database_of, online_of, open_store, policy_of
from domain.codec import unpack
from domain.market import EPOCH, Timeframe
from tests.doubles import ManualClock
from tests.unlike import unlike

LATEST_YEAR = 9000
KEPT = ("labeller", "matured")  # of the rooms, beside those that learn
SHOWN = 8  # differences of one room


async def unlearnt(settings: Settings, *, exchange: str = "binance") -> list[str]:
    """Who does not know what an uninterrupted run over the same candles knows.

    Args:
        settings: of a system that has ended in good order; they name its record.
        exchange: whose panel of one minute it is.
    """
    artifacts = settings.state / "artifacts"
    async with database_of(settings) as url, open_store(url, artifacts) as store:
        found = await _different(store, settings, exchange)
        async with store.readers.acquire() as connection:
            found += [str(one) for one in await published.compare(connection)]
    return found


async def _different(store: Store, settings: Settings, exchange: str) -> list[str]:
    key = PanelKey(exchange=exchange, timeframe=Timeframe.M1)
    latest = EPOCH.replace(year=LATEST_YEAR)
    snapshot = await load(store.readers, (exchange, key.timeframe, ROOM, ""), until=latest)
    if snapshot is None:
        return ["there is no snapshot"]
    horizons = await store.readers.fetch("SELECT DISTINCT horizon FROM ml_predictions ORDER BY 1")
    panel = Panel(
        key,
        [row["horizon"] for row in horizons],
        clock=ManualClock(snapshot.as_of),
        policy=policy_of(settings),
        online=online_of(settings),
    )
    first = await store.readers.fetchval("SELECT min(as_of) FROM ml_features_ohlcv")
    membership = await store.instruments.membership(exchange)
    candles = await store.history.panel(
        sorted(membership.joined),
        key.timeframe,
        since=first - key.timeframe.duration,
        until=snapshot.as_of,
    )
    batches = list(ticks(candles, exchange=exchange, joined=dict(membership.joined)))
    await asyncio.to_thread(play, panel, batches, {})
    kept, learnt = unpack(snapshot.payload), unpack(panel.snapshot())
    learners = [
        f"{horizon}/{one.name}" for horizon, rooms in panel.rooms.items() for one in rooms.learners
    ]
    rooms_of = [f"{horizon}/{what}" for horizon in panel.rooms for what in KEPT]
    return [
        f"{name} is not what it is without a kill, at {snapshot.as_of} after {len(batches)} ticks:"
        f" {'; '.join(found[:SHOWN])} ({len(found)} in all)"
        for name in [*learners, *rooms_of, "engine"]
        if (found := _unlike(kept[name], learnt[name]))
    ]


def _unlike(kept: Any, learnt: Any) -> list[str]:
    if isinstance(kept, str):
        return unlike(bytes.fromhex(kept), bytes.fromhex(learnt))
    return [] if kept == learnt else [f"{kept}, not {learnt}"]
