"""The broker that the tests run against keeps what it took, also when it is killed."""

from __future__ import annotations

import asyncio

import pytest

from tests.kafka.broker import Broker, answers
from tests.kafka.records import new_topic, read, send

pytestmark = pytest.mark.kafka


async def test_what_is_sent_to_the_broker_of_the_session_is_read_back(kafka: str) -> None:
    topic = await new_topic(kafka)
    await send(kafka, topic, b"first", b"second")

    assert [one.value for one in await read(kafka, topic, 2)] == [b"first", b"second"]


async def test_a_broker_that_is_killed_comes_back_with_its_log(own: Broker) -> None:
    topic = await new_topic(own.address)
    await send(own.address, topic, b"kept")

    own.kill()
    assert not await asyncio.to_thread(answers, own.address)
    await asyncio.to_thread(own.start)

    assert [one.value for one in await read(own.address, topic, 1)] == [b"kept"]
