"""What the bus on a broker promises beside the contract of every bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from aiokafka.errors import KafkaError

from backend.bus import subscription
from backend.bus.broker import dead_topic
from backend.bus.dead import dead_letters, replay
from backend.bus.envelope import PARTITIONS, partition_of, record_of
from backend.bus.kafka import KafkaBus
from backend.bus.troubles import STUCK, troubles
from domain.errors import StoreUnavailableError, TickFailedError, UsageError
from domain.events import CandleBatch
from domain.market import Instrument, Timeframe
from domain.ports import EventBus
from domain.topics import CANDLES, panel_of
from tests.factories import BTC, ETH, candle_batches
from tests.kafka.broker import Broker
from tests.kafka.buses import about, bus_on
from tests.kafka.records import WITHIN_S, ends, new_topic, read, send_again
from tests.processes import until

pytestmark = pytest.mark.kafka

TICKS = candle_batches([BTC, ETH], 60)
KEY = panel_of(TICKS[0])


def other_panel() -> list[CandleBatch]:
    """Ticks of another exchange that share the partition of `TICKS`."""
    name = next(
        f"other{number}"
        for number in range(1_000)
        if partition_of(f"other{number}|1h") == partition_of(KEY)
    )
    return candle_batches([Instrument(name, "BTC/USDT")], 60)


@pytest.fixture
def prefix(kafka: str) -> str:
    return about(kafka).prefix


@pytest.fixture
async def bus(kafka: str, prefix: str) -> AsyncIterator[KafkaBus]:
    async with bus_on(kafka, prefix) as bus:
        yield bus


async def test_who_begins_later_receives_what_is_kept(bus: KafkaBus, kafka: str) -> None:
    await publish(bus, TICKS[:3])

    async with bus_on(kafka, bus.about.prefix) as another:
        assert await received(another, KEY, 3) == moments(TICKS[:3])


async def test_what_was_not_acknowledged_comes_again_and_nothing_else(
    bus: KafkaBus, kafka: str
) -> None:
    await publish(bus, TICKS[:5])

    assert await received(bus, KEY, 3) == moments(TICKS[:3])  # two of them acknowledged
    assert await received(bus, KEY, 3) == moments(TICKS[2:5])
    async with bus_on(kafka, bus.about.prefix) as another:
        assert await received(another, KEY, 1) == moments(TICKS[4:5])


async def test_each_group_has_its_own_place(bus: KafkaBus) -> None:
    await publish(bus, TICKS[:3])

    assert await received(bus, "a", 3) == moments(TICKS[:3])
    assert await received(bus, "b", 3) == moments(TICKS[:3])


async def test_systems_with_prefixes_of_their_own_do_not_meet(bus: KafkaBus, kafka: str) -> None:
    async with bus_on(kafka) as other:
        await publish(bus, TICKS[:2])
        await publish(other, TICKS[2:4])

        assert await received(other, KEY, 2) == moments(TICKS[2:4])
        assert await received(bus, KEY, 2) == moments(TICKS[:2])


async def test_two_buses_know_whether_they_are_on_one_cluster(
    bus: KafkaBus, kafka: str, own: Broker
) -> None:
    async with bus_on(kafka) as same, bus_on(own.address) as other:
        for one in (bus, same, other):
            await publish(one, TICKS[:1])

        assert bus.cluster == same.cluster != other.cluster != ""


async def test_a_tick_comes_out_as_it_went_in(bus: KafkaBus) -> None:
    await publish(bus, TICKS[:1])
    async with bus.subscribe(CANDLES, group=KEY, key=KEY) as events:
        came = await anext(events)

    assert isinstance(came, CandleBatch)
    assert record_of(CANDLES, came) == record_of(CANDLES, TICKS[0])


async def test_those_who_publish_at_once_are_in_order_in_each_key(bus: KafkaBus) -> None:
    panels = [candle_batches([BTC], 20, timeframe=timeframe) for timeframe in (*Timeframe,)]
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            for ticks in panels:
                tasks.create_task(bus.publish(CANDLES, ticks[number]))

    for ticks in panels:
        key = panel_of(ticks[0])
        assert await received(bus, key, 20, key=key) == moments(ticks)


async def test_a_tick_of_many_instruments_fits_and_one_of_too_many_is_refused(
    bus: KafkaBus,
) -> None:
    names = [Instrument("simulated", f"COIN{number}/USDT") for number in range(100_000)]
    (tick,) = candle_batches(names[:20_000], 1)
    (larger,) = candle_batches(names, 1)
    with pytest.raises(UsageError, match="bytes and a record has at most 8,323,072: watch fewer"):
        await publish(bus, [larger])
    await publish(bus, [tick])

    assert await received(bus, KEY, 1) == moments([tick])


async def test_a_record_that_cannot_be_read_is_kept_aside_and_the_next_is_read(
    bus: KafkaBus, kafka: str
) -> None:
    await publish(bus, TICKS[:1])
    (good,) = await read(kafka, CANDLES.wire_name(bus.about.prefix), 1)
    await send_again(kafka, good, b"{")
    await publish(bus, TICKS[1:2])

    assert await received(bus, KEY, 2) == moments(TICKS[:2])
    (letter,) = [one async for one in dead_letters(bus.about)]
    (dead,) = await read(kafka, dead_topic(bus.about.prefix), 1)

    assert (letter.topic, letter.partition, letter.offset) == (good.topic, good.partition, 1)
    assert (letter.group, letter.replayed) == (KEY, False)
    assert "JSONDecodeError" in letter.reason
    assert (dead.key, dead.value) == (good.key, b"{")
    assert dead.headers[: len(good.headers)] == good.headers
    assert {name for name, _ in dead.headers[len(good.headers) :]} == {
        *("x-error", "x-group", "x-failed-at"),
        *("x-origin-topic", "x-origin-partition", "x-origin-offset"),
    }


async def test_what_can_be_read_and_cannot_be_is_kept_aside_and_the_next_is_read(
    bus: KafkaBus, kafka: str
) -> None:
    await publish(bus, TICKS[:1])
    (good,) = await read(kafka, CANDLES.wire_name(bus.about.prefix), 1)
    tick = orjson.loads(good.value)
    ahead = (datetime.now(UTC) + timedelta(days=3)).replace(minute=0, second=0, microsecond=0)
    told = [[BTC.symbol, 10**18, 1.0, 1.0, 1.0, 1.0, 1.0, None, True, True, 0, "live", "exchange"]]
    wrong: list[tuple[dict[str, object], str]] = [
        ({"as_of": ahead.isoformat(), "known_at": ahead.isoformat()}, "far ahead of the clock"),
        ({"as_of": "9999-12-31T23:59:59+00:00"}, "known before its close"),
        ({"known_at": tick["known_at"][:-6]}, "a time without its zone"),
        ({"told": told}, "not the closed candles of the tick"),
        ({"close": [None, 1.0]}, "close is not a finite number"),
        ({"exchange": "kraken"}, "a tick of kraken|1h came under the key simulated|1h"),
    ]
    for change, _ in wrong:
        await send_again(kafka, good, orjson.dumps(tick | change))
    await publish(bus, TICKS[1:2])

    assert await received(bus, KEY, 2) == moments(TICKS[:2])
    letters = [one async for one in dead_letters(bus.about)]
    assert [one.offset for one in letters] == [1, 2, 3, 4, 5, 6]
    assert [one.record.value for one in letters] == [orjson.dumps(tick | one) for one, _ in wrong]
    for letter, (_, reason) in zip(letters, wrong, strict=True):
        assert reason in letter.reason
    (trouble,) = bus.troubles()
    assert f"{good.topic}, partition {good.partition}, offset 6 is a dead letter" in trouble.reason
    assert trouble in troubles()


async def test_a_tick_that_ends_its_reader_each_time_is_kept_aside_whoever_reads(
    bus: KafkaBus, kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(bus, TICKS[:3])
    name = f"{CANDLES.wire_name(bus.about.prefix)}, partition {partition_of(KEY)}, offset 1"
    assert await received(bus, KEY, 1) == moments(TICKS[:1])
    for _ in range(subscription.TRIES):
        async with bus_on(kafka, bus.about.prefix) as another:
            with pytest.raises(TickFailedError, match=f"^{name}: LookupError: of no panel$"):
                await take_in(another, TICKS[1])
        assert name in caplog.text

    assert await received(bus, KEY, 1) == moments(TICKS[2:3])
    (letter,) = [one async for one in dead_letters(bus.about)]
    assert (letter.offset, letter.group) == (1, KEY)
    assert letter.reason == "taking it in failed 3 times: LookupError: of no panel"


async def test_what_says_nothing_of_a_tick_is_not_counted(bus: KafkaBus, kafka: str) -> None:
    await publish(bus, TICKS[:2])
    for _ in range(subscription.TRIES):
        with pytest.raises(StoreUnavailableError):
            await take_in(bus, TICKS[0], StoreUnavailableError("the database is gone"))

    assert await received(bus, KEY, 2) == moments(TICKS[:2])
    assert await ends(kafka, dead_topic(bus.about.prefix)) == 0


async def test_dead_letters_are_put_where_they_were_once(bus: KafkaBus, kafka: str) -> None:
    await publish(bus, TICKS[:1])
    (good,) = await read(kafka, CANDLES.wire_name(bus.about.prefix), 1)
    await send_again(kafka, good, b"{")
    await publish(bus, TICKS[1:2])
    await received(bus, KEY, 2)

    assert await replay(bus.about) == 1
    assert await replay(bus.about) == 0
    assert [one.replayed async for one in dead_letters(bus.about)] == [True]
    again = (await read(kafka, good.topic, 4))[-1]
    assert (again.key, again.value, again.partition) == (good.key, b"{", good.partition)
    assert again.headers == good.headers
    await publish(bus, TICKS[2:3])
    assert await received(bus, KEY, 2) == moments(TICKS[1:3])  # it is as dead as before
    assert [one.replayed async for one in dead_letters(bus.about)] == [True, False]


async def test_a_panel_does_not_read_what_is_dead_of_another(bus: KafkaBus, kafka: str) -> None:
    others = other_panel()
    await publish(bus, others[:1])
    (good,) = await read(kafka, CANDLES.wire_name(bus.about.prefix), 1)
    await send_again(kafka, good, b"{")
    await publish(bus, TICKS[:1])

    assert await received(bus, KEY, 1) == moments(TICKS[:1])
    assert await ends(kafka, dead_topic(bus.about.prefix)) == 0


async def test_a_deaf_client_is_made_anew(
    bus: KafkaBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subscription, "SILENT_S", 0.5)
    await publish(bus, TICKS[:1])
    async with bus.subscribe(CANDLES, group=KEY, key=KEY) as events:
        assert [moment(await anext(events))] == moments(TICKS[:1])
        assert isinstance(events, subscription.Subscription)
        client = events._consumer
        assert client is not None
        client.pause(*client.assignment())
        await publish(bus, TICKS[1:2])

        async with asyncio.timeout(WITHIN_S):
            assert [moment(await anext(events))] == moments(TICKS[1:2])
    assert "the broker tells no ticks" in caplog.text


@pytest.mark.parametrize("error", [KafkaError("lost"), OSError("lost"), AttributeError("lost")])
async def test_a_client_that_fails_is_made_anew_whatever_it_says(
    bus: KafkaBus, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(**_: object) -> None:
        raise error

    await publish(bus, TICKS[:2])
    async with bus.subscribe(CANDLES, group=KEY, key=KEY) as events, asyncio.timeout(WITHIN_S):
        found = [moment(await anext(events)), moment(await anext(events))]
        assert isinstance(events, subscription.Subscription)
        events._consumer.getmany = fail  # type: ignore[union-attr]
        await publish(bus, TICKS[2:3])
        found.append(moment(await anext(events)))

    assert found == moments(TICKS[:3])  # none twice: it goes on behind what it passed
    assert "the broker tells no ticks" in caplog.text


async def test_nothing_is_lost_or_out_of_order_when_the_broker_is_killed(
    own: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    said = "the broker takes no ticks"
    async with (
        bus_on(own.address) as bus,
        bus.subscribe(CANDLES, group=KEY, key=KEY) as events,
        asyncio.timeout(4 * WITHIN_S),
    ):
        await publish(bus, TICKS[:20])
        found = [moment(await anext(events)) for _ in range(10)]
        publishing = asyncio.create_task(publish(bus, TICKS[20:40]))
        own.kill()
        await asyncio.to_thread(own.start)
        found += [moment(await anext(events)) for _ in range(15)]
        await publishing
        own.kill()
        caplog.clear()
        away = datetime.now(UTC)
        publishing = asyncio.create_task(publish(bus, TICKS[40:]))
        await asyncio.to_thread(until, lambda: bool(troubles()), "that the broker is away")
        (trouble, *_) = troubles()
        stuck = datetime.now(UTC)
        await asyncio.to_thread(until, lambda: said in caplog.text, said)
        await asyncio.to_thread(own.start)
        while found[-1] != TICKS[-1].as_of:
            found.append(moment(await anext(events)))
        await publishing

        assert troubles() == []

    assert list(dict.fromkeys(found)) == moments(TICKS)  # some may have come twice
    assert (trouble.about, trouble.grave) == ("broker", True)
    assert trouble.reason == "it takes no ticks (no answer)"
    assert away <= trouble.since <= stuck - STUCK


async def test_ticks_go_on_over_a_broker_that_lost_its_volume(own: Broker) -> None:
    async with (
        bus_on(own.address) as bus,
        bus.subscribe(CANDLES, group=KEY, key=KEY) as events,
        asyncio.timeout(4 * WITHIN_S),
    ):
        await publish(bus, TICKS[:10])
        assert [moment(await anext(events)) for _ in range(10)] == moments(TICKS[:10])
        own.lose()
        await asyncio.to_thread(own.start)
        await publish(bus, TICKS[10:13])

        assert [moment(await anext(events)) for _ in range(3)] == moments(TICKS[10:13])


async def test_a_publisher_waits_for_a_broker_that_is_not_there_yet(own: Broker) -> None:
    own.kill()
    async with bus_on(own.address) as bus:
        publishing = asyncio.create_task(publish(bus, TICKS[:2]))
        await asyncio.sleep(0)
        assert not publishing.done()
        await asyncio.to_thread(own.start)

        async with asyncio.timeout(WITHIN_S):
            await publishing
            assert await received(bus, KEY, 2) == moments(TICKS[:2])


async def test_a_topic_with_too_few_partitions_is_named_on_both_sides(kafka: str) -> None:
    few = about(kafka)
    topic = await new_topic(kafka, CANDLES.wire_name(few.prefix), partitions=3)
    async with (
        bus_on(kafka, few.prefix) as bus,
        bus.subscribe(CANDLES, group=KEY, key=KEY) as events,
    ):
        reading = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(until, lambda: len(troubles()) == 2, "that neither goes")
        told = sorted(one.reason for one in troubles())
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    why = f"(KafkaError: topic {topic} has 3 partitions, and 12 are needed)"
    assert told == [f"it takes no ticks {why}", f"it tells no ticks {why}"]


def test_panels_are_spread_over_the_partitions() -> None:
    panels = [f"{exchange}|{each}" for exchange in ("a", "b", "c", "d") for each in Timeframe]

    assert {partition_of(one) for one in panels} <= set(range(PARTITIONS))
    assert len({partition_of(one) for one in panels}) > PARTITIONS / 2


async def publish(bus: EventBus, ticks: Sequence[CandleBatch]) -> None:
    for one in ticks:
        await bus.publish(CANDLES, one)


async def received(bus: EventBus, group: str, count: int, *, key: str = KEY) -> list[object]:
    """The next ones of a group, the last of them not acknowledged."""
    async with bus.subscribe(CANDLES, group=group, key=key) as events:
        async with asyncio.timeout(WITHIN_S):
            return [moment(await anext(events)) for _ in range(count)]


async def take_in(bus: EventBus, wrong: CandleBatch, error: Exception | None = None) -> None:
    """Until one comes that cannot be taken in."""
    async with bus.subscribe(CANDLES, group=KEY, key=KEY) as events, asyncio.timeout(WITHIN_S):
        async for event in events:
            if moment(event) == wrong.as_of:
                raise error or LookupError("of no panel")


def moment(event: object) -> object:
    assert isinstance(event, CandleBatch)
    return event.as_of


def moments(ticks: Sequence[CandleBatch]) -> list[object]:
    return [one.as_of for one in ticks]
