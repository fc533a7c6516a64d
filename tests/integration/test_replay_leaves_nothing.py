"""A replay is gone when it has ended, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from backend.store import database
from backend.store.postmaster import working_in
from backend.store.state import Runtime, StateFolder
from domain.market import from_ms, rfc3339
from tests.processes import WITHIN_S, command, environment, until
from tests.scenarios.market import planted

SERIES = planted(3_000, symbols=("BTC/USDT", "ETH/USDT"))
SOON = rfc3339(from_ms(int(SERIES[0].open_ms[0])) + timedelta(hours=40))
FLAGS = ("--data", "data", "--timeframe", "1h", "--horizon", "4", "--report", "report.json")
AWAY = Runtime(
    pid=os.getpid(),
    database_url="postgresql://nobody@127.0.0.1:1/nothing",
    api_host="127.0.0.1",
    api_port=1,
)
MADE = r"SELECT datname FROM pg_database WHERE datname LIKE 'replay\_%'"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with recorded candles that take longer than the test."""
    (tmp_path / "data").mkdir()
    for one in SERIES:
        names = ("open", "high", "low", "close", "volume")
        table = {"timestamp": one.open_ms, **{name: getattr(one, name) for name in names}}
        name = one.instrument.symbol.replace("/", "-")
        pd.DataFrame(table).to_csv(tmp_path / "data" / f"binance_{name}_1h.csv", index=False)
    return tmp_path


@contextmanager
def replaying(home: Path, server_url: str | None, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(  # noqa: S603 - our own program
        command("replay", *FLAGS, "--state", "state", *more),
        cwd=home,
        env=environment(
            **({} if server_url is None else {"ALPHAPULSE_DATABASE_URL": server_url}),
            ALPHAPULSE_TRAINING__MINIMUM_ROWS="1000000",
        ),
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def databases(server_url: str) -> set[str]:
    """Those of replays."""

    async def read() -> set[str]:
        connection = await database.connect(server_url)
        try:
            return {row["datname"] for row in await connection.fetch(MADE)}
        finally:
            await connection.close()

    return asyncio.run(read())


def servers(home: Path) -> list[int]:
    """Processes of PostgreSQL that work for replays."""
    folders = (home / "state" / "replay").resolve().glob("server_*/postgres")
    return [process for folder in folders for process in working_in(folder)]


def kept(home: Path) -> set[str]:
    """What is in the room of the replays."""
    return {path.name for path in (home / "state" / "replay").iterdir()}


@pytest.mark.long
def test_a_replay_needs_no_running_system_and_ends_the_server_that_it_started(home: Path) -> None:
    folder = StateFolder(home / "state")
    with folder.owned():
        folder.publish(AWAY)  # whoever used it would fail
        with replaying(home, None) as killed:
            until(lambda: bool(servers(home)), "the server of a replay")
            killed.kill()
        with replaying(home, None, "--to", SOON) as after:
            assert after.wait(WITHIN_S) == 0

    assert (home / "report.json").exists()
    assert kept(home) == set()
    assert servers(home) == []


@pytest.mark.long
def test_a_replay_that_fails_takes_what_it_made_with_it(home: Path, server_url: str) -> None:
    out = home / "out"
    with replaying(home, server_url, "--to", SOON, "--out", "out") as failed:
        until(lambda: bool(databases(server_url)), "the database of a replay")
        out.rmdir()
        out.write_text("")  # its rows cannot be written any more
        assert failed.wait(WITHIN_S) == 1

    assert databases(server_url) == set()
    assert kept(home) == set()


@pytest.mark.long
def test_what_a_killed_replay_leaves_is_removed_and_what_a_running_one_has_is_not(
    home: Path, server_url: str
) -> None:
    with replaying(home, server_url) as killed:
        until(lambda: bool(databases(server_url)), "the database of a replay")
        killed.kill()
    left = databases(server_url)
    (home / "state" / "replay" / left.copy().pop()).mkdir(
        exist_ok=True
    )  # as if it had fitted a model

    with replaying(home, server_url) as running:
        until(lambda: bool(databases(server_url) - left), "the database of the next")
        own = databases(server_url)
        assert len(own) == 1
        assert not own & left
        with replaying(home, server_url, "--to", SOON) as beside:
            assert beside.wait(WITHIN_S) == 0
        assert (home / "report.json").exists()
        assert databases(server_url) == own
        assert kept(home) == {f"{own.copy().pop()}.lock"}

        running.send_signal(signal.SIGTERM)
        assert running.wait(WITHIN_S) == 143
    assert databases(server_url) == set()
    assert kept(home) == set()
