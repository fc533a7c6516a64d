"""A PostgreSQL server of our own in the state folder, alive only as long as this process."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final

from backend.store.programs import OTHERWISE, Account, find_account
from backend.store.state import lock, write_secret
from domain.errors import StoreUnavailableError

USER: Final = "alphapulse"
DATABASE: Final = "alphapulse"
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a path above 107 bytes could not be one
    "dynamic_shared_memory_type": "mmap",  # containers have a small /dev/shm
    "shared_buffers": "128MB",
    "max_connections": "60",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
START_TIMEOUT_S: Final = 180.0  # the replay of max_wal_size after a crash, on a slow disk
STOP_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.01
PORT_ATTEMPTS: Final = 3  # another program may take the port between our look and the server's
LOG_LIMIT_BYTES: Final = 8_000_000


class EmbeddedPostgres:
    """The server of one state folder.

    Nothing of it outlives this process: `stop` and an orderly exit shut it down, and when
    the process is killed the kernel asks the server to. What was committed stays.
    """

    def __init__(self, state: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self._state = state.resolve()
        self._data = self._state / "postgres"
        self._log = self._state / "postgres.log"
        self._password = self._state / "postgres.password"
        self._settings = {**SETTINGS, **(settings or {})}
        self._running = ExitStack()

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> str:
        """Start the server, creating its database the first time.

        Returns:
            The URL of the database, password included.

        Raises:
            StateFolderError: another process runs a server on this folder.
            StoreUnavailableError: it does not start here; names ALPHAPULSE_DATABASE_URL.
        """
        try:
            with ExitStack() as running:
                self._state.mkdir(parents=True, exist_ok=True)
                running.enter_context(lock(self._state / "postgres.lock"))
                url = self._start(running)
                self._running = running.pop_all()
        except OSError as error:
            raise StoreUnavailableError(
                f"the embedded PostgreSQL in {self._state} cannot start: {error}; {OTHERWISE}"
            ) from error
        return url

    def stop(self) -> None:
        """Shut the server down; what it was doing for others is rolled back."""
        self._running.close()

    def _start(self, running: ExitStack) -> str:
        account = find_account(self._state)
        end_leftovers(self._data)
        if not self._data.exists():
            self._create(account)
        account.own(self._data)
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        said = ""
        for _ in range(PORT_ATTEMPTS):
            port, said_before = free_port(), self._said()
            server = Server(account.command("postgres", *self._options(port)), self._log)
            running.callback(server.stop)
            if server.wait_until_ready(self._data):
                return f"postgresql://{USER}:{self._secret()}@127.0.0.1:{port}/{DATABASE}"
            said = self._said()[len(said_before) :]
            if "could not bind" not in said:
                break
        fatal = re.search(r"FATAL: +(.*)", said)
        raise StoreUnavailableError(
            f"the embedded PostgreSQL in {self._state} does not start: "
            f"{fatal[1] if fatal else 'it ended'} (see {self._log}); {OTHERWISE}"
        )

    def _said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _options(self, port: int) -> list[str]:
        settings = {**self._settings, "port": str(port)}
        return ["-D", str(self._data), *(f"-c{name}={value}" for name, value in settings.items())]

    def _secret(self) -> str:
        return self._password.read_text().strip()

    def _create(self, account: Account) -> None:
        fresh = self._data.with_name("postgres.new")  # until whole: a start may be cut short
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        write_secret(self._password, secrets.token_urlsafe(24) + "\n")
        account.own(fresh)
        account.own(self._password)
        account.run(
            "initdb",
            *("-D", str(fresh), "--username", USER, "--pwfile", str(self._password)),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"),
        )
        account.run(
            *("postgres", "--single", "-D", str(fresh), "postgres"),
            script=f"CREATE DATABASE {DATABASE};\n",
        )
        fresh.rename(self._data)


class Server:
    """One run of the postmaster."""

    def __init__(self, command: list[str], log: Path) -> None:
        started: Future[subprocess.Popen[bytes]] = Future()
        # The thread lives as long as the server: the kernel's signal (`programs.DIES_WITH_US`)
        # comes when the thread that forked it ends.
        self._thread = threading.Thread(
            target=self._serve, args=(command, log, started), name="postgres", daemon=True
        )
        self._thread.start()
        self._process = started.result()

    @staticmethod
    def _serve(command: list[str], log: Path, started: Future[subprocess.Popen[bytes]]) -> None:
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(  # noqa: S603 - our own command line
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # a Ctrl-C is for us; the server stops after us
                )
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(process)
        process.wait()

    def wait_until_ready(self, data: Path) -> bool:
        """Whether it came to accept connections; False when it ended instead."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._thread.is_alive():
            if ready(data, self._process.pid):
                return True
            if time.monotonic() > deadline:
                self.stop()
            time.sleep(POLL_S)
        return False

    def stop(self) -> None:
        for how in (signal.SIGINT, signal.SIGQUIT):  # fast; else at once, to recover at start
            self._process.send_signal(how)
            self._thread.join(STOP_TIMEOUT_S)


def ready(data: Path, pid: int) -> bool:
    """Whether postmaster.pid says that the server `pid` accepts connections."""
    try:
        first, *others = (data / "postmaster.pid").read_text().splitlines() or [""]
    except FileNotFoundError:
        return False
    return first == str(pid) and any(line.strip() == "ready" for line in others)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_leftovers(data: Path) -> None:
    """End what a killed process left of its server, and forget its process id.

    To be called by the holder of the folder's lock: whatever still works in `data` has no
    owner. The id must go, for another program may have it by now.
    """
    pid_file = data / "postmaster.pid"
    deadline = time.monotonic() + STOP_TIMEOUT_S
    left = working_in(data)
    if left and pid_file.exists() and int(pid_file.read_text().splitlines()[0]) in left:
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGINT)
    while left := working_in(data):
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                f"a PostgreSQL server still works in {data} (process {left[0]}); end it first"
            )
        time.sleep(POLL_S)
    pid_file.unlink(missing_ok=True)


def working_in(folder: Path) -> list[int]:
    """The processes whose working directory is `folder`, as every PostgreSQL process's is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            where = (entry / "cwd").readlink()
        except OSError:  # it ended, or is not ours to look at
            continue
        if where == folder:
            found.append(int(entry.name))
    return found
