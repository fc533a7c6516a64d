"""A Kafka cluster: how it is reached, its topics, and a producer whose records keep their order."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from backend.bus.envelope import PARTITIONS
from backend.bus.records import CHANNELS, Record
from backend.setting_tables import KafkaSettings
from domain.topics import CANDLES, SIGNALS_LATEST

log = logging.getLogger(__name__)

COPIES: Final = 3  # of a topic, where there are so many brokers and settings say nothing
ANSWER_WITHIN_MS: Final = 10_000
TAKEN_WITHIN_S: Final = 30.0  # of what is sent together: a broker may start again meanwhile
STOP_WITHIN_S: Final = 5.0  # of a producer that is given up
AT_ONCE: Final = 100  # records between two looks for who needs the loop: some milliseconds
LINGER_MS: Final = 5
BATCH_BYTES: Final = 128 * 1024
RECORD_BYTES: Final = 8 * 1024 * 1024  # a tick of 10 000 instruments has 2.6 MB
# Records are kept by when they came: a simulated market may be years from the broker's clock.
_BY_ARRIVAL: Final = {"message.timestamp.type": "LogAppendTime"}


def client_options(about: KafkaSettings) -> dict[str, Any]:
    """How a client of aiokafka reaches the cluster; holds the password.

    Raises:
        OSError: the file of certificates cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(about.brokers),
        "request_timeout_ms": ANSWER_WITHIN_MS,
        "security_protocol": about.protocol,
    }
    if about.tls:
        options["ssl_context"] = ssl.create_default_context(cafile=about.ca)
    if about.username is not None and about.password is not None:
        options["sasl_mechanism"] = about.mechanism
        options["sasl_plain_username"] = about.username
        options["sasl_plain_password"] = about.password.get_secret_value()
    return options


async def prepare(about: KafkaSettings, wanted: Callable[[KafkaSettings], list[NewTopic]]) -> str:
    """Create the topics that are not there; the id of the cluster.

    Args:
        about: the cluster.
        wanted: what is to be there, as `event_topics` and `tick_topics`.

    Raises:
        KafkaError, OSError: it cannot be reached, refuses, or has a topic of ticks with fewer
            partitions than records name.
    """
    admin = AIOKafkaAdminClient(**client_options(about))
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
        there = {one["topic"]: len(one["partitions"]) for one in await admin.describe_topics()}
        lacking = [one for one in wanted(about) if one.name not in there]
        for one in lacking:
            one.replication_factor = about.replication or min(COPIES, len(cluster["brokers"]))
        if lacking:  # who made them before need not let us
            _refuse_errors(await admin.create_topics(lacking))
        _refuse_fewer(CANDLES.wire_name(about.prefix), {one.name for one in wanted(about)}, there)
        return str(cluster["cluster_id"])
    finally:
        await admin.close()


def _refuse_fewer(ticks: str, wanted: Collection[str], there: Mapping[str, int]) -> None:
    """Whoever made the topic of ticks before: records of it name their partition."""
    count = there.get(ticks, PARTITIONS)
    if ticks in wanted and count < PARTITIONS:
        raise KafkaError(f"topic {ticks} has {count} partitions, and {PARTITIONS} are needed")


async def committed(about: KafkaSettings, group: str, place: TopicPartition) -> tuple[int, str]:
    """The offset that a group committed, −1 for none, and what it said beside.

    Raises:
        KafkaError, OSError: the cluster cannot be reached, or refuses.
    """
    admin = AIOKafkaAdminClient(**client_options(about))
    try:
        await admin.start()
        found = await admin.list_consumer_group_offsets(group, partitions=[place])
        offset, said = found[place]
        return offset, said
    finally:
        await admin.close()


def _refuse_errors(answer: Any) -> None:  # noqa: ANN401 - a library without types
    for _, code, *_ in answer.topic_errors:
        if code not in {0, TopicAlreadyExistsError.errno}:
            raise for_code(code)


def event_topics(about: KafkaSettings) -> list[NewTopic]:
    """Events of the stream log for some days, and the newest signals for ever."""
    wanted = {topic.wire_name(about.prefix): _some_days(about) for topic in CHANNELS.values()}
    newest = {"cleanup.policy": "compact", **_BY_ARRIVAL}
    return _new({**wanted, SIGNALS_LATEST.wire_name(about.prefix): newest})


def tick_topics(about: KafkaSettings) -> list[NewTopic]:
    """Ticks between processes, and those that could not be taken in."""
    configs = _some_days(about) | {"max.message.bytes": str(RECORD_BYTES)}
    dead = NewTopic(dead_topic(about.prefix), 1, 1, topic_configs=configs)
    return [*_new({CANDLES.wire_name(about.prefix): configs}), dead]


def dead_topic(prefix: str) -> str:
    """Where a record goes that cannot be taken in; of one partition."""
    return f"{prefix}.dead.v1"


def _some_days(about: KafkaSettings) -> dict[str, str]:
    days = round(timedelta(days=about.retention_days) / timedelta(milliseconds=1))
    return {"cleanup.policy": "delete", "retention.ms": str(days), **_BY_ARRIVAL}


def _new(configs: dict[str, dict[str, str]]) -> list[NewTopic]:
    return [NewTopic(name, PARTITIONS, 1, topic_configs=each) for name, each in configs.items()]


@dataclass(frozen=True, slots=True)
class Producer:
    """Sends records of a topic and key in their order, acknowledged by all replicas in sync."""

    _of: Any

    async def send(self, records: Iterable[Record], *, free: Callable[[], Awaitable[None]]) -> None:
        """Until all are taken.

        Args:
            records: of several topics and keys; taken one by one, so making them holds nobody up.
            free: waits while somebody else needs the event loop.

        Raises:
            KafkaError, TimeoutError: some may be, and the producer is not to be used any more.
        """
        taken: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(TAKEN_WITHIN_S):
                for number, one in enumerate(records, 1):
                    taken.append(
                        await self._of.send(
                            one.topic,
                            one.value,
                            key=one.key,
                            headers=one.headers,
                            partition=one.partition,
                        )
                    )
                    if number % AT_ONCE == 0:
                        await asyncio.sleep(0)
                        await free()
                await asyncio.gather(*taken)
        finally:
            for each in taken:
                each.cancel()  # those that nobody will wait for


@asynccontextmanager
async def producing(about: KafkaSettings, *, linger_ms: int = LINGER_MS) -> AsyncIterator[Producer]:
    """A producer that is made anew after whatever went wrong: it may not know what it sent.

    Args:
        about: the cluster.
        linger_ms: for how long records are gathered before they leave.

    Raises:
        KafkaError, OSError: the cluster cannot be reached.
    """
    producer = AIOKafkaProducer(
        **client_options(about),
        client_id="alphapulse",
        enable_idempotence=True,
        linger_ms=linger_ms,
        max_batch_size=BATCH_BYTES,
        max_request_size=RECORD_BYTES,
        compression_type="lz4",
    )
    try:
        await producer.start()
        yield Producer(producer)
    finally:
        _give_up(producer)
        stop = asyncio.wait_for(producer.stop(), STOP_WITHIN_S)
        ended: list[object] = await asyncio.gather(stop, return_exceptions=True)
        if (failure := ended[0]) is not None:  # it must not stand for what ended the producer
            log.debug("a producer did not end well", extra={"reason": repr(failure)})
            await asyncio.gather(producer.client.close(), return_exceptions=True)


def _give_up(producer: AIOKafkaProducer) -> None:
    """Fail what it holds: an idempotent producer tries for ever, and `stop` waits for that.

    There is no public way; what nobody asks of its futures would be told as an error each.
    """
    held = producer._message_accumulator  # noqa: SLF001 - see above
    batches = [*held._pending_batches, *(one for some in held._batches.values() for one in some)]  # noqa: SLF001
    held.fail_all(KafkaError("given up"))
    for batch in batches:
        batch._drain_waiter.exception()  # noqa: SLF001
