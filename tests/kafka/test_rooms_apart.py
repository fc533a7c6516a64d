"""Rooms that run apart, on a real broker: whoever comes or dies, each close is answered once."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend.store.embedded import EmbeddedPostgres
from backend.store.migrate import upgrade
from tests.apart import Apart, SeveralProcesses
from tests.kafka.broker import Broker
from tests.killing import TRAINING, found_after, kill_at_random
from tests.processes import HTTP, running_exchange, until

NAMES = ("binance", "binanceus")


@pytest.mark.kafka
def test_workers_that_come_go_and_die_leave_nothing_out(
    own: Broker, tmp_path: Path, database_url: str
) -> None:
    with ExitStack() as stack:
        exchange = stack.enter_context(running_exchange(tmp_path))
        apart = Apart(
            folder=tmp_path,
            exchange=exchange,
            database_url=database_url,
            broker=own.address,
            names=NAMES,
        )
        collectors = stack.enter_context(apart.process("collectors", "collectors"))
        one = stack.enter_context(apart.process("one", "panels"))
        server = stack.enter_context(apart.process("server", "api"))
        server.wait_until_ready()
        apart.wait_for_closes(3)
        two = stack.enter_context(apart.process("two", "panels"))
        until(lambda: len(set(apart.holders().values())) == 2, "a panel for each worker")
        apart.wait_for_closes(3)
        one.kill()
        until(lambda: len(set(apart.holders().values())) == 1, "both panels with the second")
        apart.wait_for_closes(3)
        three = stack.enter_context(apart.process("three", "panels"))
        until(lambda: len(set(apart.holders().values())) == 2, "a panel for each worker again")
        assert two.stop(signal.SIGTERM) == 0
        own.kill()
        own.start()
        apart.wait_for_closes(3)
        collectors.kill()
        again = stack.enter_context(apart.process("again", "collectors"))
        apart.wait_for_closes(5)
        ready, told = server.ready()
        refused = HTTP.post(f"{three.url}/v1/instruments", json={"symbol": "XRP/USDT"})

        assert apart.complaints() == []
        assert ready == 200, told
        assert refused.status_code == 421
        for each in (again, three, server):
            assert each.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("seed", "kills"),
    [pytest.param(3, 4, marks=pytest.mark.kafka), pytest.param(4, 40, marks=pytest.mark.soak)],
)
def test_kills_at_random_moments_leave_nothing_out(
    seed: int, kills: int, own: Broker, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        exchange = stack.enter_context(running_exchange(tmp_path))
        server = EmbeddedPostgres(tmp_path)
        url = stack.enter_context(server)
        upgrade(url)
        apart = Apart(
            folder=tmp_path,
            exchange=exchange,
            database_url=url,
            broker=own.address,
            settings=TRAINING,
        )
        shape = SeveralProcesses(apart, server, own, stack)
        killed = kill_at_random(shape, exchange, seed=seed, kills=kills)

        assert found_after(shape) == [], killed
