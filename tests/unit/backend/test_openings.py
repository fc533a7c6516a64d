"""A panel takes the ticks of its own opening: those before are history, those after another's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from backend.bus.memory import MemoryBus
from backend.hosting import Hosted
from backend.panel import PanelKey
from domain.events import CandleBatch
from domain.market import Timeframe
from domain.topics import CANDLES
from tests.factories import BTC, candle_batches


async def test_only_ticks_of_its_opening_are_answered() -> None:
    bus, answered = MemoryBus(), list[CandleBatch]()
    first, second, third = (
        replace(one, opening=opening)
        for one, opening in zip(candle_batches([BTC], 3), (6, 7, 8), strict=True)
    )

    async def answer(batch: CandleBatch) -> None:
        answered.append(batch)

    key = PanelKey(exchange=BTC.exchange, timeframe=Timeframe.H1)
    known = SimpleNamespace(stranger=lambda _: False)
    runner: Any = SimpleNamespace(
        panel=SimpleNamespace(key=key), on_candles=answer, revisions=known
    )
    subscribed = asyncio.Event()
    following = asyncio.create_task(Hosted(runner, runner).follow(bus, subscribed, 7))
    await subscribed.wait()
    for batch in (first, second, third):
        await bus.publish(CANDLES, batch)
    await asyncio.wait_for(following, 60)

    assert answered == [second]
