"""Topics of a test's own, and what is in them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

WITHIN_S = 120.0  # for what a loaded machine may need; a failure waits so long, nothing else


async def new_topic(address: str, name: str | None = None, *, partitions: int = 1) -> str:
    """A topic that nothing is in."""
    name = name or f"test.{uuid.uuid4().hex[:12]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()
    return name


async def send(address: str, topic: str, *values: bytes) -> None:
    """Records without a key, in their order."""
    async with AIOKafkaProducer(bootstrap_servers=address, enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def send_again(address: str, record: ConsumerRecord, value: bytes) -> None:
    """A record as it was and where it was, with another value."""
    about = {"key": record.key, "headers": list(record.headers), "partition": record.partition}
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        await producer.send_and_wait(record.topic, value, **about)


async def read(address: str, topic: str, count: int) -> list[ConsumerRecord]:
    """The first records of a topic, those of one partition in their order."""
    return await read_until(address, topic, lambda found: len(found) == count)


async def read_until(
    address: str, topic: str, enough: Callable[[list[ConsumerRecord]], bool]
) -> list[ConsumerRecord]:
    """The records of a topic from its beginning, those of one partition in their order."""
    found: list[ConsumerRecord] = []
    reader = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest")
    async with reader, asyncio.timeout(WITHIN_S):
        while not enough(found):
            found.append(await reader.getone())
    return found


async def ends(address: str, topic: str) -> int:
    """How many records are in a topic that nothing was removed from."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=address) as reader:
        places = [TopicPartition(topic, one) for one in reader.partitions_for_topic(topic) or ()]
        return sum((await reader.end_offsets(places)).values())
