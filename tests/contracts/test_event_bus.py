"""What every bus promises; a new adapter joins by one more parameter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from backend.bus.memory import MemoryBus
from domain.events import CandleBatch
from domain.market import Timeframe
from domain.ports import EventBus
from domain.topics import CANDLES, panel_of
from tests.factories import BTC, ETH, candle_batches

TICKS = candle_batches([BTC, ETH], 5)
OTHER = candle_batches([BTC, ETH], 5, timeframe=Timeframe.M1)  # of another panel
KEY = panel_of(TICKS[0])


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def address(request: pytest.FixtureRequest) -> str | None:
    """Of the broker that the bus has, where it has one."""
    return request.getfixturevalue("kafka") if request.param == "kafka" else None


@pytest.fixture
async def bus(address: str | None) -> AsyncIterator[EventBus]:
    if address is None:
        yield MemoryBus()
        return
    from tests.kafka.buses import bus_on  # noqa: PLC0415 - an extra

    async with bus_on(address) as bus:
        yield bus


async def test_events_arrive_in_the_order_they_were_published(bus: EventBus) -> None:
    async with bus.subscribe(CANDLES, group="features") as events:
        await publish(bus, TICKS)

        assert [moment(await anext(events)) for _ in TICKS] == [one.as_of for one in TICKS]


async def test_each_group_receives_every_event(bus: EventBus) -> None:
    async with (
        bus.subscribe(CANDLES, group="a") as a,
        bus.subscribe(CANDLES, group="b") as b,
    ):
        await publish(bus, TICKS[:2])

        for events in (a, b):
            assert [moment(await anext(events)) for _ in range(2)] == [
                one.as_of for one in TICKS[:2]
            ]


async def test_who_names_a_key_receives_only_its_events(bus: EventBus) -> None:
    async with (
        bus.subscribe(CANDLES, group=KEY, key=KEY) as ours,
        bus.subscribe(CANDLES, group="other", key=panel_of(OTHER[0])) as others,
    ):
        for tick, other in zip(TICKS, OTHER, strict=True):
            await publish(bus, [other, tick])

        assert [moment(await anext(ours)) for _ in TICKS] == [one.as_of for one in TICKS]
        assert [moment(await anext(others)) for _ in OTHER] == [one.as_of for one in OTHER]


async def test_events_arrive_while_others_are_still_published(bus: EventBus) -> None:
    async with bus.subscribe(CANDLES, group="slow") as events:
        publishing = asyncio.create_task(publish(bus, TICKS * 100))

        received = [moment(await anext(events)) for _ in TICKS * 100]
        await publishing

    assert received == [one.as_of for one in TICKS * 100]


async def test_publishing_to_nobody_is_not_an_error(bus: EventBus) -> None:
    await publish(bus, TICKS)


async def publish(bus: EventBus, ticks: Sequence[CandleBatch]) -> None:
    for one in ticks:
        await bus.publish(CANDLES, one)


def moment(event: object) -> object:
    assert isinstance(event, CandleBatch)
    return event.as_of
