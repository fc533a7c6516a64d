"""What every bus promises; a new adapter joins by one more parameter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from backend.bus.memory import MemoryBus
from domain.ports import EventBus
from domain.topics import CANDLES, FEATURES


@pytest.fixture(params=[MemoryBus])
def make_bus(request: pytest.FixtureRequest) -> Callable[..., EventBus]:
    return request.param  # type: ignore[no-any-return]


async def test_events_arrive_in_the_order_they_were_published(
    make_bus: Callable[..., EventBus],
) -> None:
    bus = make_bus()
    async with bus.subscribe(CANDLES, group="features") as events:
        for number in range(5):
            await bus.publish(CANDLES, number)

        assert [await anext(events) for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_each_group_receives_every_event_and_only_of_its_topics(
    make_bus: Callable[..., EventBus],
) -> None:
    bus = make_bus()
    async with (
        bus.subscribe(CANDLES, group="a") as a,
        bus.subscribe(CANDLES, FEATURES, group="b") as b,
    ):
        await bus.publish(CANDLES, "candle")
        await bus.publish(FEATURES, "features")

        assert await anext(a) == "candle"
        assert [await anext(b), await anext(b)] == ["candle", "features"]


async def test_a_full_subscriber_makes_the_publisher_wait_and_loses_nothing(
    make_bus: Callable[..., EventBus],
) -> None:
    bus = make_bus(capacity=2)
    async with bus.subscribe(CANDLES, group="slow") as events:
        publishing = asyncio.ensure_future(_publish(bus, 5))
        await asyncio.sleep(0)

        assert not publishing.done()

        received = [await anext(events) for _ in range(5)]
        await publishing

    assert received == [0, 1, 2, 3, 4]


async def test_publishing_to_nobody_is_not_an_error(make_bus: Callable[..., EventBus]) -> None:
    await make_bus().publish(CANDLES, "candle")


async def _publish(bus: EventBus, count: int) -> None:
    for number in range(count):
        await bus.publish(CANDLES, number)
