"""A whole system with a broker: what it has published is there, also when it is killed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import orjson
import pytest

from backend.store.database import connect
from domain.topics import PREDICTIONS
from tests.kafka.broker import Broker
from tests.kafka.records import read_until
from tests.kafka.relayed import event_of, once
from tests.processes import System, running_exchange, running_run, until

pytestmark = pytest.mark.kafka

HEADS = "SELECT streams, offsets FROM stream_heads WHERE log = 'predictions.1m.binance'"


def test_a_system_that_is_killed_puts_all_of_its_log_on_the_broker(
    own: Broker, tmp_path: Path
) -> None:
    brokers = {"ALPHAPULSE_KAFKA__BROKERS": orjson.dumps([own.address]).decode()}
    with running_exchange(tmp_path) as exchange:
        with running_run(tmp_path, exchange, **brokers) as system:
            system.wait_until_ready()
            until(lambda: system.metric("alphapulse_events_relayed_total") > 0, "events taken")
            system.kill()
        with running_run(tmp_path, exchange, **brokers) as system:
            system.wait_until_ready()
            system.wait_for_ticks(2)
            heads = asyncio.run(published(system))
            taken = asyncio.run(offsets(own, heads))
            assert system.stop(signal.SIGTERM) == 0

    assert {stream: found[: heads[stream]] for stream, found in taken.items()} == {
        stream: [*range(1, last + 1)] for stream, last in heads.items()
    }


async def published(system: System) -> dict[str, int]:
    """The last offset of each stream of predictions."""
    connection = await connect(system.database_url())
    try:
        streams, last = await connection.fetchrow(HEADS)
        return dict(zip(streams, last, strict=True))
    finally:
        await connection.close()


async def offsets(broker: Broker, heads: dict[str, int]) -> dict[str, list[int]]:
    """Of each stream, once and in the order in which they came, until all of `heads` came."""
    last: dict[str, int] = {}

    def enough(found: list[object]) -> bool:
        for one in found[-1:]:
            event = event_of(one)
            last[event.stream] = max(event.offset, last.get(event.stream, 0))
        return all(last.get(stream, 0) >= head for stream, head in heads.items())

    events = once(await read_until(broker.address, PREDICTIONS.wire_name(), enough))
    return {stream: [one.offset for one in events if one.stream == stream] for stream in heads}
