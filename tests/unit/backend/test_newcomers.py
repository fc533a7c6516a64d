"""Before a panel answers a tick with somebody new in it, it reads from when on that one belongs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from backend.bus.memory import MemoryBus
from backend.hosting import Hosted
from backend.panel import PanelKey
from backend.revisions import Revisions
from backend.store.instruments import NOT_YET
from domain.events import CandleBatch
from domain.market import Instrument, Timeframe
from domain.topics import CANDLES
from services.features.feature_set import OHLCV
from tests.doubles import START, ManualClock
from tests.factories import BTC, ETH, SOL, candle_batches

SINCE = START - timedelta(hours=1)


async def test_the_moment_of_a_newcomer_is_known_before_its_first_tick_is_answered() -> None:
    bus, joined = MemoryBus(), dict[Instrument, datetime | None]()
    reads: list[str] = []
    said: list[tuple[datetime | None, int]] = []

    async def membership(exchange: str) -> SimpleNamespace:
        reads.append(exchange)
        return SimpleNamespace(joined={BTC: SINCE, ETH: SINCE, SOL: NOT_YET})

    async def answer(_: CandleBatch) -> None:
        said.append((joined[ETH], len(reads)))

    store: Any = SimpleNamespace(instruments=SimpleNamespace(membership=membership), readers=None)
    clock = ManualClock()
    key = PanelKey(exchange=BTC.exchange, timeframe=Timeframe.H1)
    panel: Any = SimpleNamespace(key=key, base=OHLCV)
    revisions = Revisions(panel=panel, joined=joined, store=store, clock=clock, wall=clock)
    joined |= {BTC: None, ETH: NOT_YET}
    runner: Any = SimpleNamespace(panel=panel, on_candles=answer)
    observer: Any = SimpleNamespace(revisions=revisions)
    subscribed = asyncio.Event()

    async def opened() -> int:
        return 1

    hosted = Hosted(runner, observer)
    following = asyncio.create_task(hosted.follow(bus, subscribed, 0, opened))
    await subscribed.wait()
    (alone,), both = candle_batches([BTC], 1), candle_batches([BTC, ETH], 3)
    for batch in (alone, *both[1:], replace(both[0], opening=1)):
        await bus.publish(CANDLES, batch)
    await asyncio.wait_for(following, 60)

    assert said == [(NOT_YET, 0), (SINCE, 1), (SINCE, 1)]
    assert joined == {BTC: None, ETH: SINCE, SOL: NOT_YET}
