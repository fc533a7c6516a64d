"""Records that could not be taken in: kept whole beside their topics, put there again if asked."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from backend.bus.broker import (
    RECORD_BYTES,
    client_options,
    dead_topic,
    prepare,
    producing,
    tick_topics,
)
from backend.bus.records import Record, spelled
from backend.setting_tables import KafkaSettings

log = logging.getLogger(__name__)

GROUP: Final = "dead-letters"  # whose offset says what was replayed
_MARK: Final = "x-"  # before the names of our headers
AT_ONCE: Final = 100  # records in memory
LOOK_MS: Final = 1_000
LONGEST: Final = 500  # letters of a reason


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record as it was, and what is known of its end."""

    topic: str
    partition: int
    offset: int
    group: str  # that could not read it
    reason: str
    failed_at: str
    replayed: bool
    record: Record


def dead_letter(
    record: ConsumerRecord, *, group: str, reason: str, prefix: str, at: datetime
) -> Record:
    """What is kept of a record that cannot be taken in: all of it, and why."""
    headers = [
        *record.headers,
        ("x-error", reason[:LONGEST].encode()),
        ("x-group", group.encode()),
        ("x-origin-topic", record.topic.encode()),
        ("x-origin-partition", b"%d" % record.partition),
        ("x-origin-offset", b"%d" % record.offset),
        ("x-failed-at", spelled(at)),
    ]
    return Record(dead_topic(prefix), record.key, record.value, headers, 0)


async def dead_letters(about: KafkaSettings) -> AsyncIterator[DeadLetter]:
    """All that are kept, the oldest first.

    Raises:
        KafkaError, OSError: the cluster cannot be reached.
    """
    async with _reading(about) as (consumer, place):
        replayed = await consumer.committed(place) or 0
        await consumer.seek_to_beginning(place)
        async for one in _until_now(consumer, place):
            if (letter := known(one, replayed)) is not None:
                yield letter


async def count_kept(about: KafkaSettings) -> int:
    """How many were not replayed; nothing is changed.

    Raises:
        KafkaError, OSError: the cluster cannot be reached.
    """
    async with _consuming(about) as consumer:
        place = TopicPartition(dead_topic(about.prefix), 0)
        if place.topic not in await consumer.topics():
            return 0
        consumer.assign([place])
        replayed = await consumer.committed(place) or 0
        first = (await consumer.beginning_offsets([place]))[place]
        end = (await consumer.end_offsets([place]))[place]
        return int(end - max(first, replayed))


async def replay(about: KafkaSettings) -> int:
    """Put those that were not replayed where they were; how many these are.

    What is cut short is done again, so one may be there twice.

    Raises:
        KafkaError, OSError: the cluster cannot be reached, or takes none.
    """
    count = 0
    async with _reading(about) as (consumer, place), producing(about) as producer:
        async for one in _until_now(consumer, place):
            letter = known(one, 0)
            if letter is not None:
                await producer.send([letter.record], free=_nobody)
                count += 1
            await consumer.commit({place: one.offset + 1})
    return count


@asynccontextmanager
async def _reading(about: KafkaSettings) -> AsyncIterator[tuple[AIOKafkaConsumer, TopicPartition]]:
    await prepare(about, tick_topics)
    async with _consuming(about) as consumer:
        place = TopicPartition(dead_topic(about.prefix), 0)
        consumer.assign([place])
        yield consumer, place


@asynccontextmanager
async def _consuming(about: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **client_options(about),
        client_id="alphapulse",
        group_id=f"{about.prefix}.{GROUP}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=RECORD_BYTES,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def _until_now(
    consumer: AIOKafkaConsumer, place: TopicPartition
) -> AsyncIterator[ConsumerRecord]:
    """From where the consumer is to what was the end when it was asked."""
    end = (await consumer.end_offsets([place]))[place]
    while await consumer.position(place) < end:
        found = await consumer.getmany(timeout_ms=LOOK_MS, max_records=AT_ONCE)
        for one in found.get(place, ()):
            yield one


def known(record: ConsumerRecord, replayed: int) -> DeadLetter | None:
    """What a dead letter says, which is replayed below an offset; None of what is none of ours.

    Its own headers are the last of their names.
    """
    told = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    try:
        topic, group, reason = (told[f"x-{name}"] for name in ("origin-topic", "group", "error"))
        partition, offset = (int(told[f"x-origin-{name}"]) for name in ("partition", "offset"))
        failed_at = told["x-failed-at"]
    except (KeyError, ValueError):
        log.warning("a record is no dead letter: %s, offset %d", record.topic, record.offset)
        return None
    headers = [one for one in record.headers if not one[0].startswith(_MARK)]
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        group=group,
        reason=reason,
        failed_at=failed_at,
        replayed=record.offset < replayed,
        record=Record(topic, record.key, record.value, headers, partition),
    )


async def _nobody() -> None:
    """There is nobody else."""
