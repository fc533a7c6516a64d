"""A system whose ticks go by way of a broker: each close is accounted for, whatever is killed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from domain.topics import CANDLES
from tests.account import complaints
from tests.kafka.broker import Broker
from tests.kafka.records import ends
from tests.processes import running_exchange, running_run

pytestmark = pytest.mark.kafka

TOPIC = CANDLES.wire_name("mine")


def test_a_system_over_a_broker_goes_on_when_either_is_killed(own: Broker, tmp_path: Path) -> None:
    over = {"ALPHAPULSE_BUS_URL": f"kafka://{own.address}", "ALPHAPULSE_KAFKA__PREFIX": "mine"}
    with running_exchange(tmp_path) as exchange:
        with running_run(tmp_path, exchange, **over) as system:
            system.wait_until_ready()
            system.wait_for_ticks(2)
            own.kill()
            own.start()
            system.wait_for_ticks(3)
            system.kill()
        sent = asyncio.run(ends(own.address, TOPIC))
        with running_run(tmp_path, exchange, **over) as system:
            system.wait_until_ready()
            system.wait_for_ticks(3)

            assert complaints(system, exchange) == []
            assert asyncio.run(ends(own.address, TOPIC)) > sent > 2
            assert system.stop(signal.SIGTERM) == 0
    assert "Traceback" not in system.errors.read_text()
