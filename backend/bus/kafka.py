"""The bus between processes: one record for each tick, by way of a Kafka cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from aiokafka import ConsumerRecord

from backend import metrics
from backend.bus.broker import RECORD_BYTES
from backend.bus.dead import LONGEST, dead_letter
from backend.bus.envelope import record_of
from backend.bus.outage import Outage
from backend.bus.sender import Sender
from backend.bus.subscription import Subscription
from backend.bus.troubles import told_by
from backend.clock import SystemClock
from backend.setting_tables import KafkaSettings
from backend.store.database import CONNECTION_ERRORS
from collectors.offset import APART_MS
from collectors.pacing import Pace
from domain.errors import ArtifactError, StoreError, TickFailedError, UsageError, in_one_line
from domain.market import from_ms
from domain.topics import OfPanel, Topic
from domain.troubles import Trouble

LARGEST: Final = RECORD_BYTES - 64 * 1024  # without its key and headers
TOLD_FOR: Final = timedelta(minutes=10)  # of wall time, after a record became a dead letter
# What ends a reader and says nothing of the tick that it had.
_NO_FAULT: Final = (*CONNECTION_ERRORS, StoreError, ArtifactError, MemoryError)
_BY_BROKER: Final = 1  # the type of a record's time

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
    _dead: dict[str, Trouble] = field(init=False, default_factory=dict)  # the newest of each group

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
        """From behind what the group committed last; a new one from what is kept.

        Raises:
            TickFailedError: what was read last ended whoever read it. It comes again, and is a
                dead letter at the third time.
        """
        said = {"begins": "the broker tells no ticks", "ends": "the broker tells ticks again"}
        subscription = Subscription(
            about=self.about,
            topics=topics,
            group=group,
            key=key,
            latest=self._latest,
            refuse=partial(self._bury, group),
            outage=Outage(pace=self.pace, **said),
        )
        try:
            with told_by(subscription.troubles):
                yield subscription
        except _NO_FAULT:
            raise
        except Exception as error:
            if name := await subscription.failed(error):
                log.exception("a tick ended its panel: %s", name)
                words = f"{type(error).__name__}: {in_one_line(error)}"
                raise TickFailedError(f"{name}: {words}") from error
            raise
        finally:
            await subscription.close()

    def troubles(self) -> list[Trouble]:
        """Which records became dead letters of late."""
        since = self.pace.wall.now() - TOLD_FOR
        return [one for one in self._dead.values() if one.since > since]

    def _latest(self, record: ConsumerRecord) -> datetime:
        """The end of what can be known: by our clock, or by the broker's if that is ahead of it.

        The clock of a simulated market says nothing of the broker's.
        """
        now = self.pace.clock.now()
        if isinstance(self.pace.clock, SystemClock) and record.timestamp_type == _BY_BROKER:
            now = max(now, from_ms(record.timestamp))
        return now + timedelta(milliseconds=APART_MS) * self.pace.speed

    async def _bury(self, group: str, record: ConsumerRecord, reason: str) -> None:
        log.error(
            "a record cannot be taken in: alphapulse dead-letters list",
            extra={"topic": record.topic, "offset": record.offset, "reason": reason},
        )
        at = self.pace.wall.now()
        await self.sender.send(
            dead_letter(record, group=group, reason=reason, prefix=self.about.prefix, at=at)
        )
        metrics.DEAD_LETTERS.inc()
        name = f"{record.topic}, partition {record.partition}, offset {record.offset}"
        said = f"{name} is a dead letter ({reason[:LONGEST]}): alphapulse dead-letters list"
        self._dead[group] = Trouble(about="broker", since=at, reason=said)


@asynccontextmanager
async def kafka_bus(about: KafkaSettings, pace: Pace) -> AsyncIterator[KafkaBus]:
    """A bus whose producer ends with the context."""
    sender = Sender(about=about, pace=pace)
    sending = asyncio.create_task(sender.run())
    try:
        with told_by(sender.troubles):
            bus = KafkaBus(about=about, pace=pace, sender=sender)
            with told_by(bus.troubles):
                yield bus
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
