"""What the bus within one process does beside the contract of every bus."""

from __future__ import annotations

import asyncio

from backend.bus.memory import MemoryBus
from domain.topics import CANDLES, SENTIMENT, panel_of
from tests.factories import BTC, candle_batches

TICKS = candle_batches([BTC], 5)
KEY = panel_of(TICKS[0])


async def test_a_full_subscriber_makes_the_publisher_wait_and_loses_nothing() -> None:
    bus = MemoryBus(capacity=2)
    async with bus.subscribe(CANDLES, group="slow") as events:
        publishing = asyncio.create_task(publish_all(bus))
        await asyncio.sleep(0)

        assert not publishing.done()

        received = [await anext(events) for _ in TICKS]
        await publishing

    assert received == TICKS


async def test_a_full_subscriber_of_one_panel_holds_no_other_up() -> None:
    bus = MemoryBus(capacity=2)
    async with bus.subscribe(CANDLES, group="other", key="simulated|1m"):
        await publish_all(bus)


async def test_a_subscriber_of_two_topics_receives_both_and_no_third() -> None:
    bus, (candles, sentiment, third, *_) = MemoryBus(), TICKS
    async with (
        bus.subscribe(CANDLES, group="a", key=KEY) as one,
        bus.subscribe(CANDLES, SENTIMENT, group="b") as both,
    ):
        await bus.publish(CANDLES, candles)
        await bus.publish(SENTIMENT, sentiment)
        await bus.publish(CANDLES, third)

        assert [await anext(one), await anext(one)] == [candles, third]
        assert [await anext(both) for _ in range(3)] == [candles, sentiment, third]


async def publish_all(bus: MemoryBus) -> None:
    for one in TICKS:
        await bus.publish(CANDLES, one)
