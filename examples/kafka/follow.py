"""Keeps every signal that AlphaPulse puts on Kafka, once, and sees that none was missed.

    pip install "aiokafka[lz4]>=0.14,<0.15"
    python follow.py localhost:9092 signals.db

Records may come again, under the same stream, epoch and offset: the table's key leaves them out.
What is in the table is committed before its place is told to the broker: a kill loses nothing, nor
does a broker that does not take the place.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from hashlib import sha256
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

TOPIC = "alphapulse.signals.changed.v1"  # or alphapulse.predictions.made.v1
GROUP = "example"  # readers of one group share the partitions
NOTHING = "0" * 64  # the hash before the first event of a stream
_TABLE = """
CREATE TABLE IF NOT EXISTS events (
    stream TEXT, epoch TEXT, "offset" INTEGER, event TEXT, hash TEXT, data TEXT,
    PRIMARY KEY (stream, epoch, "offset")
)
"""
_BEFORE = 'SELECT hash FROM events WHERE (stream, epoch, "offset") = (?, ?, ?)'
_KEEP = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)"


async def follow(broker: str, database: sqlite3.Connection) -> None:
    """Until it is stopped."""
    database.execute(_TABLE)
    reader = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=broker,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with reader:
        while True:
            batches: dict[TopicPartition, list[ConsumerRecord]] = await reader.getmany(
                timeout_ms=1_000, max_records=500
            )
            if not batches:
                continue
            with database:  # one transaction
                for records in batches.values():
                    for record in records:
                        keep(record, database)
            try:
                await reader.commit({tp: some[-1].offset + 1 for tp, some in batches.items()})
            except KafkaError as error:  # whoever reads on begins behind what was committed before
                sys.stderr.write(f"records will come again: {error!r}\n")


def keep(record: ConsumerRecord, database: sqlite3.Connection) -> None:
    """Enter the event of a record, if it is the one that follows.

    Raises:
        SystemExit: it is not what was published, or one before it is missing.
    """
    told: dict[str, Any] = {name: value.decode() for name, value in record.headers}
    stream, epoch, offset = told["ce_subject"], told["epoch"], int(told["offset"])
    head = (told["previous_hash"], stream, epoch, offset, told["event"], told["as_of"])
    text = "\n".join(map(str, (*head, told["ce_time"], ""))).encode()
    if sha256(text + record.value).hexdigest() != told["hash"]:
        sys.exit(f"{stream}: event {offset} is not as it was published")
    first = database.execute("SELECT 1 FROM events WHERE stream = ? AND epoch = ?", (stream, epoch))
    before = database.execute(_BEFORE, (stream, epoch, offset - 1)).fetchone()
    known = before[0] if before else NOTHING if offset == 1 else None
    if known is None and first.fetchone():
        sys.exit(f"{stream}: event {offset - 1} is missing")  # where it began late, nothing is
    if known not in {None, told["previous_hash"]}:
        sys.exit(f"{stream}: event {offset} follows another one")
    row = (stream, epoch, offset, told["event"], told["hash"], record.value.decode())
    database.execute(_KEEP, row)


if __name__ == "__main__":
    try:
        _, address, file = sys.argv
    except ValueError:
        sys.exit("usage: python follow.py BROKER:PORT FILE")
    asyncio.run(follow(address, sqlite3.connect(file)))
