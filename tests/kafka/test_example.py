"""The example reader keeps each event once, goes on after a kill, and notices what was altered."""

from __future__ import annotations

import asyncio
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError

from domain.topics import SIGNALS
from tests.kafka.broker import Broker
from tests.kafka.records import send_again
from tests.kafka.relayed import Relayed, relayed
from tests.processes import ROOT, environment, until

pytestmark = pytest.mark.kafka

EXAMPLE = ROOT / "examples" / "kafka" / "follow.py"
COUNT = "SELECT count(*) FROM events"


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Relayed]:
    async with relayed(database_url) as found:
        yield found


async def test_the_example_keeps_each_event_once_over_kills_and_repetitions(
    record: Relayed, own: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "signals.db"
    await record.ticks(1, 2)
    async with record.relaying(own.address):
        await record.read(own.address, SIGNALS.wire_name(), 2)
        with following(own, file):
            await asyncio.to_thread(until, lambda: kept(file) == 6, "the first events")
        await record.pool.execute("DELETE FROM relay_cursors")
    await record.ticks(3)
    async with record.relaying(own.address):
        with following(own, file):
            await asyncio.to_thread(until, lambda: kept(file) == 9, "the later ones")


async def test_the_example_goes_on_where_the_broker_does_not_take_its_place(
    record: Relayed,
    own: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused: list[object] = []
    commit = AIOKafkaConsumer.commit

    async def refuse_once(self: AIOKafkaConsumer, offsets: object) -> None:
        if not refused:
            refused.append(offsets)
            raise CommitFailedError("the group has already rebalanced")
        await commit(self, offsets)

    monkeypatch.setattr(AIOKafkaConsumer, "commit", refuse_once)
    example = runpy.run_path(str(EXAMPLE))
    file = tmp_path / "signals.db"
    async with record.relaying(own.address):
        with closing(sqlite3.connect(file)) as database:
            following = asyncio.create_task(example["follow"](own.address, database))
            for tick in (1, 2):
                await record.ticks(tick)
                await asyncio.to_thread(until, lambda: kept(file) == 3 * tick, "its events")  # noqa: B023 - awaited
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    assert "records will come again: CommitFailedError" in capsys.readouterr().err


async def test_the_example_stops_at_an_event_that_was_altered(
    record: Relayed, own: Broker, tmp_path: Path
) -> None:
    await record.ticks(1)
    async with record.relaying(own.address):
        (first, *_) = await record.read(own.address, SIGNALS.wire_name(), 1)
    await send_again(own.address, first, first.value.replace(b"long", b"flat"))

    with following(own, tmp_path / "signals.db") as process:
        _, error = await asyncio.to_thread(process.communicate)

    assert b"event 1 is not as it was published" in error


@contextmanager
def following(broker: Broker, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The example as its reader starts it, killed at the end."""
    command = [sys.executable, str(EXAMPLE), broker.address, str(file)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) as process:  # noqa: S603 - ours
        try:
            yield process
        finally:
            process.kill()


def kept(file: Path) -> int:
    with closing(sqlite3.connect(file)) as database:
        try:
            return int(database.execute(COUNT).fetchone()[0])
        except sqlite3.OperationalError:  # it has not begun
            return 0
