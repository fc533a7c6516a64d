"""A system that is stopped, killed or loses its database accounts for every close."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backend.store import database
from backend.store.registry import Decision, Registry, Seat
from domain.events import Target
from domain.market import Timeframe
from tests.account import complaints
from tests.doubles import START
from tests.integration.test_store_registry import version
from tests.killing import OneProcess, found_after, kill_at_random, names
from tests.processes import HTTP, WITHIN_S, Exchange, alphapulse, running_run

FEW, MANY = 1, 8  # rounds of five kills


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that one system lives in, test after test."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.long
def test_a_killed_system_goes_on_where_it_was(home: Path, exchange: Exchange) -> None:
    with running_run(home, exchange) as system:
        system.wait_until_ready()
        system.wait_for_ticks(5)
        asyncio.run(put_on_trial_without_a_file(system.database_url()))
        system.kill()
    with running_run(home, exchange) as system:
        system.wait_until_ready()
        system.wait_for_ticks(6)

        assert complaints(system, exchange) == []
        assert HTTP.get(f"{system.url}/v1/status").json()["data"][0]["notes"] == [
            "model logistic.direction@1 (binance 1m, horizon 4) refused:"
            " artifact cannot be read: No such file or directory"
        ]
        assert system.stop() == 0
        assert system.server() == []
        assert "stopping on SIGTERM" in system.said


@pytest.mark.long
def test_a_stopped_system_goes_on_and_waits_for_a_database_that_is_lost(
    home: Path, exchange: Exchange
) -> None:
    with running_run(home, exchange) as system:
        system.wait_until_ready()
        system.wait_for_ticks(2)
        server, first = system.server(), system.postmaster()
        _send(server, signal.SIGSTOP)
        exchange.wait_until(exchange.now() + timedelta(minutes=4))
        # PostgreSQL now ends every connection and refuses new ones until it has recovered.
        _send([next(one for one in server if one != first)], signal.SIGKILL)
        _send(server, signal.SIGCONT)
        system.wait_for_ticks(8)
        # Without the first process the others end, and nothing of PostgreSQL is left.
        _send([system.postmaster()], signal.SIGKILL)
        system.wait_for_ticks(4)

        assert complaints(system, exchange) == []
        assert system.stop() == 0
    errors = system.errors.read_text()
    assert "waiting for the database" in errors
    assert errors.count("the database has ended and is started again") == 1
    verified = alphapulse(home, "verify", "--state", "state")
    assert verified.returncode == 0
    assert re.fullmatch(
        r"[1-9]\d* events of [1-9]\d* streams are intact, "
        r"and predictions and signals are as published\n",
        verified.stdout,
    )


@pytest.mark.long
def test_a_database_that_cannot_be_started_again_ends_the_system_with_one_line(
    home: Path, exchange: Exchange
) -> None:
    with running_run(home, exchange) as system:
        system.wait_until_ready()
        system.errors.write_text("")
        (system.state / "postgres" / "PG_VERSION").unlink()
        _send([system.postmaster()], signal.SIGKILL)

        assert system.process.wait(WITHIN_S) == 1
    said = [one for one in system.errors.read_text().splitlines() if not one.startswith("{")]
    assert len(said) == 1
    assert said[0].startswith("alphapulse: the embedded PostgreSQL in ")
    assert "ALPHAPULSE_DATABASE_URL" in said[0]


async def put_on_trial_without_a_file(database_url: str) -> None:
    """Let the registry name a challenger whose artifact is nowhere."""
    seat = Seat(
        exchange="binance",
        timeframe=Timeframe.M1,
        horizon=4,
        target=Target.DIRECTION,
        name="logistic.direction",
    )
    begun = Decision(
        seat=seat,
        champion_version=None,
        challenger_version=1,
        verdict="keep",
        trigger="refit",
        decided_at=START,
    )
    pool = await database.connect_pool(database_url, size=1)
    try:
        registry = Registry(pool)
        await registry.register(replace(version(), seat=seat, kind="logistic"))
        await registry.challenge(begun)
    finally:
        await pool.close()


def _send(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [
        pytest.param(3, FEW, marks=pytest.mark.long),
        *(pytest.param(seed, MANY, marks=pytest.mark.soak) for seed in (1, 2)),
    ],
)
def test_kills_at_any_moment_leave_nothing_out(
    seed: int, rounds: int, tmp_path: Path, exchange: Exchange
) -> None:
    with ExitStack() as stack:
        shape = OneProcess(tmp_path, exchange, stack)
        killed = kill_at_random(shape, exchange, seed=seed, rounds=rounds)

        assert killed == Counter(rounds * names(shape))
        assert found_after(shape) == [], killed
