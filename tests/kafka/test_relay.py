"""What is committed comes to a broker in order and whole, and can be proven there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
from pydantic import TypeAdapter

from backend.api.schemas import PredictionRow, SignalRow
from backend.api.schemas_records import RecordHeaders
from backend.store.stream_log import FIRST_HASH, event_hash
from domain.topics import PREDICTIONS, SIGNALS, SIGNALS_LATEST
from tests.integration.store_samples import INSTRUMENTS
from tests.kafka.broker import Broker
from tests.kafka.relayed import Relayed, event_of, once, relayed

pytestmark = pytest.mark.kafka

MADE, CHANGED = PREDICTIONS.wire_name(), SIGNALS.wire_name()


HEADERS = TypeAdapter(RecordHeaders)


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Relayed]:
    async with relayed(database_url) as found:
        yield found


async def test_each_event_is_one_record_and_the_chain_can_be_recomputed(
    record: Relayed, kafka: str
) -> None:
    await record.ticks(1, 2)
    async with record.relaying(kafka):
        await record.read(kafka, MADE, 2)
        await record.ticks(3)
        found = await record.read(kafka, MADE, 3)

    events = [event_of(one) for one in found]
    for instrument in INSTRUMENTS:
        stream = f"predictions.1h.{instrument.exchange}.{instrument.symbol}"
        own = [one for one in events if one.stream == stream]
        assert [one.offset for one in own] == [1, 2, 3]
        assert [one.previous_hash for one in own] == [FIRST_HASH, own[0].hash, own[1].hash]
        assert all(event_hash(one) == one.hash for one in own)
    assert len(events) == 9


async def test_a_record_says_what_it_is(record: Relayed, kafka: str) -> None:
    await record.ticks(1)
    async with record.relaying(kafka):
        (made, *_) = await record.read(kafka, MADE, 1)
        changed = await record.read(kafka, CHANGED, 1)

    headers = {name: value.decode() for name, value in made.headers}
    row = orjson.loads(made.value)
    HEADERS.validate_python(headers)  # as /asyncapi.json describes them
    PredictionRow.model_validate_json(made.value)
    for one in changed:
        SignalRow.model_validate_json(one.value)
    assert made.key.decode() == f"{row['exchange']}|{row['symbol']}|1h"
    assert headers["ce_type"] == MADE
    assert (headers["event"], headers["content-type"]) == ("prediction", "application/json")
    traces = {dict(one.headers)["traceparent"].split(b"-")[1] for one in (made, *changed)}
    assert len(traces) == 1


async def test_the_newest_signal_of_a_series_and_horizon_has_a_key_of_its_own(
    record: Relayed, kafka: str
) -> None:
    await record.ticks(1)
    async with record.relaying(kafka):
        newest = await record.read(kafka, SIGNALS_LATEST.wire_name(), 1)

    assert {one.key.decode() for one in newest} == {
        f"{one.exchange}|{one.symbol}|1h|4" for one in INSTRUMENTS
    }


async def test_who_starts_again_goes_on_and_repeats_nothing(record: Relayed, kafka: str) -> None:
    await record.ticks(1)
    async with record.relaying(kafka):
        await record.noted()
    await record.ticks(2)
    async with record.relaying(kafka):
        found = await record.read(kafka, CHANGED, 2)

    assert [event_of(one).offset for one in found if one.key.startswith(b"binance|ADA")] == [1, 2]
    assert len(found) == 6


async def test_what_was_taken_and_not_noted_comes_again_under_the_same_id(
    record: Relayed, kafka: str
) -> None:
    await record.ticks(1)
    async with record.relaying(kafka):
        await record.read(kafka, MADE, 1)
    await record.pool.execute("DELETE FROM relay_cursors")  # the machine lost its last commits
    await record.ticks(2)
    async with record.relaying(kafka):
        found = await record.read(kafka, MADE, 2)

    assert len(found) == 9
    assert sorted(one.offset for one in once(found)) == [1, 1, 1, 2, 2, 2]


async def test_another_cluster_gets_the_log_from_its_first_event(
    record: Relayed, kafka: str, own: Broker
) -> None:
    await record.ticks(1)
    async with record.relaying(kafka):
        await record.read(kafka, MADE, 1)
    async with record.relaying(own.address):
        assert len(await record.read(own.address, MADE, 1)) == 3
