"""Topics of a test's own, and what is in them."""

from __future__ import annotations

import asyncio
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

WITHIN_S = 60.0  # for what a loaded machine may need; a failure waits so long, nothing else


async def new_topic(address: str, *, partitions: int = 1) -> str:
    """A topic that nothing is in."""
    name = f"test.{uuid.uuid4().hex[:12]}"
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


async def read(address: str, topic: str, count: int) -> list[ConsumerRecord]:
    """The first records of a topic, those of one partition in their order."""
    found: list[ConsumerRecord] = []
    reader = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest")
    async with reader, asyncio.timeout(WITHIN_S):
        while len(found) < count:
            found.append(await reader.getone())
    return found
