"""Whatever of several processes is killed, at whatever moment, the record is as if nothing were."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kafka.broker import Broker
from tests.kafka.killed_apart import SeveralProcesses
from tests.killing import found_after, kill_at_random, names
from tests.processes import running_exchange

FEW, MANY = 1, 5  # rounds of eight kills
AWAY_S = 9.0


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [
        pytest.param(3, FEW, marks=pytest.mark.kafka),
        pytest.param(1, MANY, marks=pytest.mark.soak),
    ],
)
def test_kills_of_any_process_at_any_moment_leave_nothing_out(
    seed: int, rounds: int, tmp_path: Path, own: Broker
) -> None:
    with ExitStack() as stack:
        exchange = stack.enter_context(running_exchange(tmp_path))
        shape = SeveralProcesses(tmp_path, exchange, own, stack)
        killed = kill_at_random(shape, exchange, seed=seed, rounds=rounds)

        assert killed == Counter(rounds * names(shape))
        assert found_after(shape) == [], killed


@pytest.mark.kafka
def test_a_database_that_is_away_for_seconds_ends_no_process(tmp_path: Path, own: Broker) -> None:
    with ExitStack() as stack:
        exchange = stack.enter_context(running_exchange(tmp_path))
        shape = SeveralProcesses(tmp_path, exchange, own, stack)
        shape.mend()
        shape.settle(2)
        shape.end_database()
        exchange.wait_until(exchange.now() + AWAY_S * exchange.second)
        shape.mend()

        assert found_after(shape) == []
