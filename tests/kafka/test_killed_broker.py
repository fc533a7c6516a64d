"""A broker that is killed while events are published misses none and has none twice by offset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from backend import metrics
from backend.store.stream_log import FIRST_HASH, event_hash
from domain.topics import PREDICTIONS, SIGNALS
from tests.integration.store_samples import INSTRUMENTS
from tests.kafka.broker import Broker
from tests.kafka.relayed import Relayed, once, relayed
from tests.processes import until

pytestmark = pytest.mark.kafka

KILLS = 2
TICKS = 40  # between two kills


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Relayed]:
    async with relayed(database_url) as found:
        yield found


async def test_nothing_is_lost_or_doubled_when_the_broker_comes_back_at_once(
    record: Relayed, own: Broker
) -> None:
    async with record.relaying(own.address):
        for kill in range(KILLS):
            await published_while_killed(record, own, kill)
            await asyncio.to_thread(own.start)
        await assert_whole(record, own, kills=KILLS)


async def test_nothing_is_lost_or_doubled_when_the_broker_is_away_until_the_producer_gives_up(
    record: Relayed, own: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    said = "the broker takes no events"
    async with record.relaying(own.address):
        await published_while_killed(record, own, 0)
        await asyncio.to_thread(until, lambda: said in caplog.text, said)
        await asyncio.to_thread(own.start)
        await assert_whole(record, own, kills=1)


async def test_nothing_is_lost_or_doubled_when_the_system_ends_while_the_broker_is_away(
    record: Relayed, own: Broker
) -> None:
    for kill in range(KILLS):
        async with record.relaying(own.address):
            await published_while_killed(record, own, kill)
        await asyncio.to_thread(own.start)
    async with record.relaying(own.address):
        await assert_whole(record, own, kills=KILLS)


async def test_it_is_said_how_much_waits_for_a_broker_that_is_away_and_since_when(
    record: Relayed, own: Broker
) -> None:
    async with record.relaying(own.address) as relay:
        began = datetime.now(UTC)
        await record.ticks(1)
        await record.noted()
        await asyncio.to_thread(until, lambda: not behind(), "that nothing waits")
        well = relay.troubles()
        own.kill()
        await record.ticks(2, 3)
        await asyncio.to_thread(until, lambda: behind() == 4, "that all of two ticks waits")
        waited = datetime.now(UTC)
        await asyncio.to_thread(until, lambda: bool(relay.troubles()), "that the broker is away")
        (trouble,) = relay.troubles()
        await asyncio.to_thread(own.start)
        await record.noted()
        await asyncio.to_thread(until, lambda: not relay.troubles(), "that it is there")
        await asyncio.to_thread(until, lambda: not behind(), "that nothing waits")

    assert well == []
    assert (trouble.about, trouble.grave) == ("broker", False)
    assert began < trouble.since < waited
    assert trouble.reason.endswith("blocks that wait: 4")  # two ticks of predictions and signals


async def test_a_broker_that_is_cut_off_is_told_and_gets_all_once_it_is_back(
    record: Relayed, own: Broker
) -> None:
    async with record.relaying(own.address) as relay:
        await record.ticks(1)
        await record.noted()
        own.freeze()
        await record.ticks(*range(2, TICKS + 1))
        await asyncio.to_thread(
            until, lambda: bool(relay.troubles()), "that the broker does not answer"
        )
        own.thaw()
        await assert_whole(record, own, kills=1)
        await asyncio.to_thread(until, lambda: not relay.troubles(), "that it answers")


def behind() -> float | None:
    return metrics.REGISTRY.get_sample_value("alphapulse_relay_behind_blocks")


async def published_while_killed(record: Relayed, broker: Broker, kill: int) -> None:
    """Ticks before, while and after the broker is killed; none of them waits for it."""
    first, last = kill * TICKS + 1, (kill + 1) * TICKS
    before, after = first + TICKS // 4, last - TICKS // 4
    await record.ticks(*range(first, before))
    await record.read(broker.address, PREDICTIONS.wire_name(), before - 1)
    killing = asyncio.to_thread(broker.kill)
    await asyncio.gather(record.ticks(*range(before, after)), killing)
    await record.ticks(*range(after, last + 1))


async def assert_whole(record: Relayed, broker: Broker, *, kills: int) -> None:
    """Each stream is on the broker as it was published, for who leaves out repetitions."""
    total = kills * TICKS
    for topic, channel in ((PREDICTIONS, "predictions"), (SIGNALS, "signals")):
        events = once(await record.read(broker.address, topic.wire_name(), total))
        for instrument in INSTRUMENTS:
            stream = f"{channel}.1h.{instrument.exchange}.{instrument.symbol}"
            chain = [one for one in events if one.stream == stream]
            assert [one.offset for one in chain] == [*range(1, total + 1)]
            before = [FIRST_HASH, *(one.hash for one in chain)]
            assert [one.previous_hash for one in chain] == before[:-1]
            assert all(event_hash(one) == one.hash for one in chain)
