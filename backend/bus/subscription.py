"""A group's way through a topic: no record skipped, acknowledged when it asks for the next."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from backend.bus.broker import (
    ANSWER_WITHIN_MS,
    RECORD_BYTES,
    STOP_WITHIN_S,
    client_options,
    committed,
    prepare,
    tick_topics,
)
from backend.bus.envelope import PARTITIONS, UnreadableRecordError, event_of, partition_of
from backend.bus.outage import Outage
from backend.setting_tables import KafkaSettings
from domain.errors import in_one_line
from domain.topics import Topic
from domain.troubles import Trouble

log = logging.getLogger(__name__)

AT_ONCE: Final = 500  # records taken from the client; what they hold is bounded by bytes below
LOOK_MS: Final = 1_000  # until a wait for records is looked after
COMMIT_EVERY_S: Final = 0.5  # while there is always more
SILENT_S: Final = 30.0  # without a record, until the broker is asked whether there is one
TRIES: Final = 3  # of a record that ends whoever reads it
_FAILED: Final = "failed"  # beside the offset of a record that was tried: so often

Refuse = Callable[[ConsumerRecord, str], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Subscription:
    """Events in the order of their partition, from behind what the group committed last.

    Iterating gives events. No partition is handed out by the broker: who reads which panel is
    decided by the database, and a panel's key says where its records are.

    Args:
        about: the cluster.
        topics: whose events.
        group: whose offsets.
        key: only records of it; None: of all partitions.
        latest: what a record was sent of was known by then.
        refuse: keeps a record that cannot be taken in, with the reason.
        outage: says that nothing comes.
    """

    about: KafkaSettings
    topics: Sequence[Topic]
    group: str
    key: str | None
    latest: Callable[[ConsumerRecord], datetime]
    refuse: Refuse
    outage: Outage
    _consumer: AIOKafkaConsumer | None = field(init=False, default=None)
    _fetched: deque[ConsumerRecord] = field(init=False, default_factory=deque)
    _given: ConsumerRecord | None = field(init=False, default=None)
    _next: dict[TopicPartition, int] = field(init=False, default_factory=dict)  # offsets
    _tried: dict[TopicPartition, int] = field(init=False, default_factory=dict)
    _uncommitted: bool = field(init=False, default=False)
    _committed_at: float = field(init=False, default=0.0)  # of the loop's clock, as below
    _heard_at: float = field(init=False, default=0.0)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> object:
        self._acknowledge()
        ours = None if self.key is None else self.key.encode()
        while True:
            await self._fetch()
            record = self._fetched[0]
            if ours is None or record.key == ours:
                try:
                    event = event_of(
                        record.value, record.headers, key=record.key, latest=self.latest(record)
                    )
                except UnreadableRecordError as error:
                    await self.refuse(record, in_one_line(error))
                    self._uncommitted = True
                else:
                    self._given = self._fetched.popleft()
                    return event
            self._pass(self._fetched.popleft())

    def troubles(self) -> list[Trouble]:
        """That nothing comes, since when, and why."""
        if self.outage.since is None:
            return []
        reason = f"it tells no ticks ({self.outage.why})"
        return [Trouble(about="broker", since=self.outage.since, reason=reason, grave=True)]

    async def failed(self, error: Exception) -> str:
        """What was given last ended its reader; at the last of its tries it is refused.

        The tries are counted beside the group's offset, whoever makes them.

        Returns:
            Which it is.
        """
        record = self._given
        if record is None:
            return ""
        name = f"{record.topic}, partition {record.partition}, offset {record.offset}"
        place = TopicPartition(record.topic, record.partition)
        tries = await self._tries(place, record.offset) + 1
        if tries >= TRIES:
            words = f"{type(error).__name__}: {in_one_line(error)}"
            await self.refuse(record, f"taking it in failed {tries} times: {words}")
            self._acknowledge()
        else:
            self._next[place], self._tried[place] = record.offset, tries
            self._given, self._uncommitted = None, True
        return name

    async def _tries(self, place: TopicPartition, offset: int) -> int:
        """How often a record was tried before; 0 where the broker does not say."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_MS / 1_000):
                at, said = await committed(self.about, f"{self.about.prefix}.{self.group}", place)
        except (KafkaError, OSError) as error:
            log.warning("how often a tick was tried is not known", extra={"reason": repr(error)})
            return 0
        before = {f"{_FAILED} {tries}": tries for tries in range(1, TRIES)}
        return before.get(said, 0) if at == offset else 0

    async def close(self) -> None:
        """Commit what was acknowledged, and leave."""
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._commit()
        except TimeoutError:
            log.debug("offsets are not committed: the broker is away")
        await self._leave()

    def _acknowledge(self) -> None:
        if self._given is not None:
            self._pass(self._given)
            self._given, self._uncommitted = None, True

    def _pass(self, record: ConsumerRecord) -> None:
        place = TopicPartition(record.topic, record.partition)
        self._next[place] = record.offset + 1
        if self._tried:
            self._tried.pop(place, None)

    async def _fetch(self) -> None:
        """Until there is a record."""
        if self._fetched and self._uncommitted and _now() > self._committed_at + COMMIT_EVERY_S:
            await self._commit()
        while not self._fetched:
            try:
                consumer = self._consumer or await self._join()
                found = await consumer.getmany(timeout_ms=0, max_records=AT_ONCE)
                if not found:
                    await self._commit()
                    found = await consumer.getmany(timeout_ms=LOOK_MS, max_records=AT_ONCE)
                await self._heard(consumer, found)
            except Exception as error:  # noqa: BLE001 - it is logged; the client is made anew
                await self._leave()
                await self.outage.wait(error)

    async def _heard(
        self, consumer: AIOKafkaConsumer, found: Mapping[TopicPartition, Sequence[ConsumerRecord]]
    ) -> None:
        """Take what came; where nothing came for long, see whether the client is deaf.

        Raises:
            KafkaError, OSError: it is, or the broker is away.
        """
        for records in found.values():
            self._fetched.extend(records)
        if not found:
            if _now() < self._heard_at + SILENT_S:
                return
            await self._refuse_deaf(consumer)
        self._heard_at = _now()
        self.outage.over()

    async def _refuse_deaf(self, consumer: AIOKafkaConsumer) -> None:
        async with asyncio.timeout(ANSWER_WITHIN_MS / 1_000):
            ends = await consumer.end_offsets(self._places())
            for place, end in ends.items():
                if (at := await consumer.position(place)) < end:
                    raise KafkaError(f"nothing comes from {place.topic}, of {end - at} records")

    def _places(self) -> list[TopicPartition]:
        partitions = range(PARTITIONS) if self.key is None else [partition_of(self.key)]
        names = [topic.wire_name(self.about.prefix) for topic in self.topics]
        return [TopicPartition(name, each) for name in names for each in partitions]

    async def _join(self) -> AIOKafkaConsumer:
        """A client that goes on behind what was passed; for the first, behind what was committed.

        Raises:
            KafkaError, OSError: the cluster cannot be reached.
        """
        await prepare(self.about, tick_topics)
        consumer = self._consumer = AIOKafkaConsumer(
            **client_options(self.about),
            client_id="alphapulse",
            group_id=f"{self.about.prefix}.{self.group}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=RECORD_BYTES,
        )
        await consumer.start()
        consumer.assign(self._places())
        for place, offset in self._next.items():
            consumer.seek(place, offset)
        self._heard_at = _now()
        return consumer

    async def _commit(self) -> None:
        """Note how far the group is; a failure means that records come again."""
        if self._consumer is None or not self._uncommitted:
            return
        self._committed_at = _now()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_MS / 1_000):
                await self._consumer.commit(
                    {
                        place: (
                            offset,
                            f"{_FAILED} {tries}" if (tries := self._tried.get(place)) else "",
                        )
                        for place, offset in self._next.items()
                    }
                )
            self._uncommitted = False
        except (KafkaError, OSError) as error:
            log.debug("offsets are committed later", extra={"reason": repr(error)})

    async def _leave(self) -> None:
        """What was fetched and not passed is fetched again."""
        consumer, self._consumer = self._consumer, None
        self._fetched.clear()
        if consumer is not None:
            stop = asyncio.wait_for(consumer.stop(), STOP_WITHIN_S)
            await asyncio.gather(stop, return_exceptions=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
