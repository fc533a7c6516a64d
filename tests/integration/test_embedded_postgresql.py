"""The embedded PostgreSQL: it starts anywhere, dies with its process and forgets nothing."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from backend.store import database
from backend.store.embedded import EmbeddedPostgres
from backend.store.postmaster import end_leftovers, working_in
from backend.store.programs import WHEEL, find_binaries, root_accounts
from domain.errors import StateFolderError, StoreUnavailableError
from tests.processes import until

ROOT = Path(__file__).parents[2]

OWNER = """
import sys
from dataclasses import replace
from pathlib import Path
from backend.store.embedded import EmbeddedPostgres
from backend.store.programs import find_account

state = Path(sys.argv[1])
account = find_account(state)
if sys.argv[2] == "stays":
    kept = [word for word in account.prefix if word not in ("--pdeathsig", "INT")]
    account = replace(account, prefix=(*kept[:-1], "--no-new-privs", "--"))
with EmbeddedPostgres(state, account=account) as url:
    print(url, flush=True)
    sys.stdin.read()
"""

# As PostgreSQL 18 is that was asked to shut down while it recovers from the loss of a process.
DEAF = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder whose server was made, given a row, and stopped.

    Its tests share it: each leaves it with no server, and with `kept` in it. Its path is
    longer than a socket's may be.
    """
    state = tmp_path_factory.mktemp("deep") / ("x" * 60) / ("y z" * 20) / "state"
    with EmbeddedPostgres(state) as url:
        asyncio.run(ask(url, "CREATE TABLE kept AS SELECT 42 AS answer"))
    return state


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach; pytest's own they cannot."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def ask(url: str, query: str) -> Any:
    connection = await database.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@contextmanager
def another_process(
    state: Path, *, server: str = "dies with it"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that runs the server of the folder, and the server's URL."""
    with subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", OWNER, str(state), server],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def postmaster_of(state: Path) -> int:
    return int((state / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def wait_for_the_end_of(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30)[0], f"process {pid} did not end"
    finally:
        os.close(descriptor)


async def test_a_second_start_finds_what_the_first_committed(state: Path) -> None:
    server = EmbeddedPostgres(state)
    for _ in range(2):
        url = server.start()

        assert await ask(url, "SELECT answer FROM kept") == 42

        server.stop()
        with pytest.raises(StoreUnavailableError):
            await database.connect(url)
        assert working_in(state / "postgres") == []


async def test_it_listens_on_loopback_alone_and_asks_for_the_password(state: Path) -> None:
    with EmbeddedPostgres(state) as url:
        assert await ask(url, "SHOW listen_addresses") == "127.0.0.1"
        assert await ask(url, "SHOW unix_socket_directories") == ""
        stored = await ask(url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'alphapulse'")
        assert stored.startswith("SCRAM-SHA-256$")
        with pytest.raises(StoreUnavailableError, match="password authentication failed"):
            await database.connect(
                url.replace(":alphapulse", "").replace("alphapulse:", "alphapulse:x")
            )
    assert stat.S_IMODE((state / "postgres.password").stat().st_mode) == 0o600


async def test_it_is_durable_in_utc_and_needs_no_shared_memory_folder(state: Path) -> None:
    with EmbeddedPostgres(state) as url:
        assert await ask(url, "SHOW synchronous_commit") == "on"
        assert await ask(url, "SHOW fsync") == "on"
        assert await ask(url, "SHOW timezone") == "UTC"
        assert await ask(url, "SHOW dynamic_shared_memory_type") == "mmap"
        assert await ask(url, "SHOW server_encoding") == "UTF8"


async def test_no_server_outlives_a_killed_process(state: Path) -> None:
    with another_process(state) as (process, url):
        await ask(url, "CREATE TABLE later AS SELECT 43 AS answer")
        postmaster = postmaster_of(state)

        process.kill()
        process.wait()

        wait_for_the_end_of(postmaster)
        with EmbeddedPostgres(state) as again:
            assert await ask(again, "SELECT answer FROM later") == 43


async def test_committed_rows_outlive_the_server_killed_with_its_process(state: Path) -> None:
    with another_process(state) as (process, url):
        await ask(url, "CREATE TABLE last AS SELECT 43 AS answer")
        os.kill(postmaster_of(state), signal.SIGKILL)
        process.kill()
        process.wait()

        with EmbeddedPostgres(state) as again:
            assert await ask(again, "SELECT answer FROM last") == 43


async def test_a_server_that_was_killed_is_started_again_where_it_was(state: Path) -> None:
    with another_server(state) as (server, url):
        for _ in range(2):
            killed = postmaster_of(state)
            server.keep_up()
            assert postmaster_of(state) == killed
            os.kill(killed, signal.SIGKILL)

            keep_up(server, lambda: postmaster_of(state) != killed)  # noqa: B023 - at once

            assert await ask(url, "SELECT answer FROM kept") == 42
    server.keep_up()
    assert working_in(state / "postgres") == []


async def test_a_server_that_cannot_be_started_again_is_an_error_with_the_way_out(
    state: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(state, tmp_path / "other"))
    with another_server(other) as (server, url):
        (other / "postgres" / "PG_VERSION").unlink()
        os.kill(postmaster_of(other), signal.SIGKILL)
        with pytest.raises(StoreUnavailableError, match="ALPHAPULSE_DATABASE_URL"):
            keep_up(server, lambda: False)
        with pytest.raises(StoreUnavailableError):
            await database.connect(url)


@contextmanager
def another_server(state: Path) -> Iterator[tuple[EmbeddedPostgres, str]]:
    server = EmbeddedPostgres(state)
    url = server.start()
    try:
        yield server, url
    finally:
        server.stop()


def keep_up(server: EmbeddedPostgres, holds: Callable[[], bool]) -> None:
    def held() -> bool:
        server.keep_up()
        return holds()

    until(held, "what is kept up")


async def test_a_server_left_running_is_ended_before_another_starts(state: Path) -> None:
    with another_process(state, server="stays") as (process, url):
        process.kill()
        process.wait()
        left = postmaster_of(state)

        assert await ask(url, "SELECT answer FROM kept") == 42
        with EmbeddedPostgres(state) as again:
            assert postmaster_of(state) != left
            assert await ask(again, "SELECT answer FROM kept") == 42
            with pytest.raises(StoreUnavailableError):
                await database.connect(url)


def test_a_server_that_does_not_heed_the_first_signal_is_ended_by_the_second(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", DEAF]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as server:  # noqa: S603
        assert server.stdout is not None
        server.stdout.readline()
        (tmp_path / "postmaster.pid").write_text(f"{server.pid}\n")
        ended = threading.Thread(target=server.wait)
        ended.start()
        try:
            end_leftovers(tmp_path, within_s=0.2)
        finally:
            server.kill()
            ended.join()

    assert server.returncode == -signal.SIGQUIT
    assert not (tmp_path / "postmaster.pid").exists()


async def test_a_stopped_server_that_was_left_is_said_to_be_waited_for_and_ends_the_start(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with another_process(state, server="stays") as (process, _):
        process.kill()
        process.wait()
        left = postmaster_of(state)
        os.kill(left, signal.SIGSTOP)
        who = f"process {left}, which is stopped: `kill -CONT {left}` lets it end"
        try:
            with pytest.raises(StoreUnavailableError) as refused:
                end_leftovers(state / "postgres", within_s=0.5, told_after_s=0.1)
        finally:
            os.kill(left, signal.SIGCONT)
        wait_for_the_end_of(left)

    assert caplog.messages == [
        "waiting up to 1 s for a PostgreSQL server of before to end: it works in"
        f" {state / 'postgres'} ({who})"
    ]
    assert str(refused.value) == (
        f"a PostgreSQL server still works in {state / 'postgres'} ({who}); end it first"
    )
    with EmbeddedPostgres(state) as again:
        assert await ask(again, "SELECT answer FROM kept") == 42


@pytest.mark.parametrize("content", [None, "", "\n", "x\n"])
def test_who_works_there_and_is_not_named_is_no_error_of_ours(
    tmp_path: Path, content: str | None
) -> None:
    command = [sys.executable, "-c", DEAF]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as server:  # noqa: S603
        assert server.stdout is not None
        server.stdout.readline()
        if content is not None:
            (tmp_path / "postmaster.pid").write_text(content)
        try:
            with pytest.raises(StoreUnavailableError, match=f"process {server.pid}"):
                end_leftovers(tmp_path, within_s=0.05)
        finally:
            server.kill()


async def test_a_process_id_that_another_program_took_over_does_not_stop_the_start(
    state: Path, tmp_path: Path
) -> None:
    with another_process(Path(shutil.copytree(state, tmp_path / "other"))) as (program, _):
        (state / "postgres" / "postmaster.pid").write_text(f"{program.pid}\n{state}/postgres\n")

        with EmbeddedPostgres(state) as url:
            assert await ask(url, "SELECT answer FROM kept") == 42
        assert program.poll() is None


async def test_the_server_outlives_the_thread_that_started_it(state: Path) -> None:
    server = EmbeddedPostgres(state)
    urls: list[str] = []
    starter = threading.Thread(target=lambda: urls.append(server.start()))
    starter.start()
    starter.join()
    try:
        assert await ask(urls[0], "SELECT answer FROM kept") == 42
    finally:
        server.stop()


def test_a_second_server_on_the_folder_is_refused_and_told_who_runs_the_first(state: Path) -> None:
    with (
        another_process(state) as (process, _),
        pytest.raises(StateFolderError, match=f"in use by process {process.pid};"),
    ):
        EmbeddedPostgres(state).start()


async def test_it_starts_in_a_folder_deeper_than_a_socket_path_may_be(state: Path) -> None:
    assert len(str(state)) > 107
    with EmbeddedPostgres(state) as url:
        assert await ask(url, "SELECT answer FROM kept") == 42


async def test_a_first_start_cut_short_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18\n")

    with EmbeddedPostgres(tmp_path, settings={"fsync": "off"}) as url:
        assert await ask(url, "SELECT current_database()") == "alphapulse"


def test_a_server_that_cannot_start_says_why_in_one_line(state: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="ALPHAPULSE_DATABASE_URL") as refused:
        EmbeddedPostgres(state, settings={"shared_buffers": "lots"}).start()

    assert "shared_buffers" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert working_in(state / "postgres") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_root_has_three_ways_to_run_it_and_can_change_between_them(
    state: Path, open_folder: Path
) -> None:
    copy = Path(shutil.copytree(state, open_folder / "state"))
    namespace, nobody, copied = root_accounts(find_binaries(), copy)
    ways = [way for way in (nobody, copied, namespace, nobody) if way.works(copy)]

    assert copied in ways
    for way in ways:
        with EmbeddedPostgres(copy, account=way) as url:
            assert await ask(url, "SELECT answer FROM kept") == 42
            assert (copy / "postgres").stat().st_uid == way.uid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_cannot_reach_the_folder_is_not_chosen(tmp_path: Path) -> None:
    nobody = next(islice(root_accounts(find_binaries(), tmp_path), 1, None))
    tmp_path.parent.chmod(0o700)

    assert not nobody.works(tmp_path)


def test_the_programs_are_the_wheels_and_the_wheel_is_not_imported() -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from backend.store.programs import *;"
            "print(find_binaries()); print(WHEEL in sys.modules)",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert WHEEL in found[0]
    assert found[1] == "False"
