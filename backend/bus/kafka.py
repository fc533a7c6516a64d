"""The bus between processes: one record for each tick, by way of a Kafka cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiokafka import ConsumerRecord

from backend import metrics
from backend.bus.broker import RECORD_BYTES
from backend.bus.dead import dead_letter
from backend.bus.envelope import record_of
from backend.bus.outage import Outage
from backend.bus.sender import Sender
from backend.bus.subscription import Subscription
from backend.bus.troubles import told_by
from backend.setting_tables import KafkaSettings
from collectors.pacing import Pace
from domain.errors import UsageError
from domain.topics import OfPanel, Topic

LARGEST: Final = RECORD_BYTES - 64 * 1024  # without its key and headers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaBus:
    """Keeps what is published for those who read later, each group from where it was.

    Args:
        about: the cluster.
        pace: the wall clock of waits, and the chance in them.
        sender: of what is published; run by `kafka_bus`.
    """

    about: KafkaSettings
    pace: Pace
    sender: Sender

    @property
    def cluster(self) -> str:
        return self.sender.cluster

    async def publish(self, topic: Topic, event: OfPanel) -> None:
        """Until it is acknowledged, however long the cluster is away.

        Raises:
            UsageError: it is larger than a record may be.
        """
        record = record_of(topic, event, self.about.prefix)
        if len(record.value) > LARGEST:
            raise UsageError(
                f"a tick of {record.key!r} takes {len(record.value):,} bytes and a record has at"
                f" most {LARGEST:,}: watch fewer instruments of it"
            )
        await self.sender.send(record)

    @asynccontextmanager
    async def subscribe(
        self, *topics: Topic, group: str, key: str | None = None
    ) -> AsyncIterator[AsyncIterator[object]]:
        """From behind what the group committed last; a new one from what is kept."""
        said = {"begins": "the broker tells no ticks", "ends": "the broker tells ticks again"}
        subscription = Subscription(
            about=self.about,
            topics=topics,
            group=group,
            key=key,
            refuse=partial(self._bury, group),
            outage=Outage(pace=self.pace, **said),
        )
        try:
            with told_by(subscription.troubles):
                yield subscription
        finally:
            await subscription.close()

    async def _bury(self, group: str, record: ConsumerRecord, reason: str) -> None:
        log.error(
            "a record cannot be read: alphapulse dead-letters list",
            extra={"topic": record.topic, "offset": record.offset, "reason": reason},
        )
        at = self.pace.wall.now()
        await self.sender.send(
            dead_letter(record, group=group, reason=reason, prefix=self.about.prefix, at=at)
        )
        metrics.DEAD_LETTERS.inc()


@asynccontextmanager
async def kafka_bus(about: KafkaSettings, pace: Pace) -> AsyncIterator[KafkaBus]:
    """A bus whose producer ends with the context."""
    sender = Sender(about=about, pace=pace)
    sending = asyncio.create_task(sender.run())
    try:
        with told_by(sender.troubles):
            yield KafkaBus(about=about, pace=pace, sender=sender)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
