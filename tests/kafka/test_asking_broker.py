"""A broker that asks who we are takes events with the right password, and none with another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from domain.topics import CANDLES, panel_of
from tests.factories import BTC, candle_batches
from tests.kafka.broker import PASSWORD, USER, Broker, running
from tests.kafka.buses import bus_on
from tests.kafka.records import WITHIN_S
from tests.kafka.relayed import Relayed, relayed
from tests.processes import until

pytestmark = pytest.mark.kafka

CURSORS = "SELECT count(*) FROM relay_cursors"


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Relayed]:
    async with relayed(database_url) as found:
        yield found


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(tmp_path_factory.mktemp("asking"), asks=True) as broker:
        yield broker


async def test_the_right_password_is_taken(record: Relayed, asking: Broker) -> None:
    await record.ticks(1)

    async with record.relaying(asking.address, username=USER, password=PASSWORD):
        await record.noted()


async def test_another_password_is_refused_in_a_line_that_does_not_have_it(
    record: Relayed, asking: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    await record.ticks(1)
    said = "the broker takes no events"

    async with record.relaying(asking.address, username=USER, password="p@ss:word"):  # noqa: S106 - nobody's
        await asyncio.to_thread(until, lambda: said in caplog.text, said)

    assert "invalid credentials" in caplog.text
    assert "p@ss" not in caplog.text
    assert await record.pool.fetchval(CURSORS) == 0


async def test_ticks_between_rooms_go_with_the_right_password(asking: Broker) -> None:
    ticks = candle_batches([BTC], 2)
    async with (
        bus_on(asking.address, username=USER, password=PASSWORD) as bus,
        bus.subscribe(CANDLES, group="panel", key=panel_of(ticks[0])) as events,
        asyncio.timeout(WITHIN_S),
    ):
        for one in ticks:
            await bus.publish(CANDLES, one)

        assert [await anext(events) for _ in ticks]


async def test_ticks_between_rooms_wait_with_another_password(
    asking: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    said = "the broker takes no ticks"
    (tick,) = candle_batches([BTC], 1)
    async with bus_on(asking.address, username=USER, password="p@ss:word") as bus:  # noqa: S106 - nobody's
        publishing = asyncio.create_task(bus.publish(CANDLES, tick))
        await asyncio.to_thread(until, lambda: said in caplog.text, said)

        assert not publishing.done()
        publishing.cancel()
    assert "invalid credentials" in caplog.text
    assert "p@ss" not in caplog.text
