"""Rooms that run apart, on a real broker: whoever comes or dies, each close is answered once."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.apart import Apart
from tests.kafka.broker import Broker
from tests.processes import alphapulse, running_exchange, until

pytestmark = pytest.mark.kafka

NAMES = ("binance", "binanceus")


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
        server.wait_until_ready()
        does = (
            (again, "collectors of binance, collectors of binanceus, sources"),
            (three, "house, panel binanceus|1m, panel binance|1m"),
        )
        lines = [f":{process.process.pid}: {what}\n" for process, what in does]
        said: list[str] = []

        def told() -> bool:
            order = ("doctor", "--state", "nowhere")
            said.append(alphapulse(tmp_path, *order, **apart.environment()).stdout)
            return all(line in said[-1] for line in lines)

        until(told, "all is with those that are left")
        assert apart.complaints() == []
        assert "differs" not in said[-1]
        assert "ok   running system: rooms apart, the processes above\n" in said[-1]
        for each in (again, three, server):
            assert each.stop(signal.SIGTERM) == 0
