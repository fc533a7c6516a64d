"""A panel takes the ticks of its own opening: those before are history, those after another's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backend.bus.memory import MemoryBus
from backend.hosting import Hosted
from backend.panel import PanelKey
from domain.events import CandleBatch
from domain.market import Timeframe
from domain.topics import CANDLES
from tests.factories import BTC, candle_batches


async def test_only_ticks_of_its_opening_are_answered() -> None:
    assert await answered_of(6, 7, 8, opening=7, newest=8) == [7]


async def test_where_nobody_announces_openings_those_of_others_are_passed_by() -> None:
    assert await answered_of(8, 0, opening=0, newest=None) == [0]


async def test_an_opening_that_nobody_announced_ends_the_panel() -> None:
    with pytest.raises(ValueError, match="nobody announced its opening, 8"):
        await answered_of(7, 8, opening=7, newest=7)


async def answered_of(*openings: int, opening: int, newest: int | None) -> list[int]:
    """The openings of the ticks that a panel of `opening` answers; without `newest` the first."""
    bus, answered, some = MemoryBus(), list[int](), asyncio.Event()

    async def answer(batch: CandleBatch) -> None:
        answered.append(batch.opening)
        some.set()

    async def opened() -> int:
        assert newest is not None
        return newest

    key = PanelKey(exchange=BTC.exchange, timeframe=Timeframe.H1)
    known = SimpleNamespace(stranger=lambda _: False)
    runner: Any = SimpleNamespace(
        panel=SimpleNamespace(key=key), on_candles=answer, revisions=known
    )
    subscribed = asyncio.Event()
    hosted = Hosted(runner, runner)
    announced = None if newest is None else opened
    following = asyncio.create_task(hosted.follow(bus, subscribed, opening, announced))
    await subscribed.wait()
    for one, batch in zip(openings, candle_batches([BTC], len(openings)), strict=True):
        await bus.publish(CANDLES, replace(batch, opening=one))
    if newest is None:
        await asyncio.wait_for(some.wait(), 60)
        following.cancel()
        await asyncio.wait([following])
    else:
        await asyncio.wait_for(following, 60)
    return answered
