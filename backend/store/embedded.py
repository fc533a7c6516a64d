"""A PostgreSQL server of our own in the state folder, alive only as long as this process."""

from __future__ import annotations

import errno
import logging
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from backend.store.postmaster import Server, end_leftovers
from backend.store.programs import OTHERWISE, Account, find_account
from backend.store.state import lock, write_secret
from domain.errors import StoreUnavailableError

log = logging.getLogger(__name__)

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
PORT_ATTEMPTS: Final = 3  # another program may take the port between our look and the server's
RESTARTS: Final = 3  # on the port that clients know; whoever has taken it may let it go
RESTART_EVERY_S: Final = 1.0
LOG_LIMIT_BYTES: Final = 8_000_000
ROOM_BYTES: Final = 3 * 2**24  # segments of the log; with less a start may end again at once


class EmbeddedPostgres:
    """The server of one state folder.

    Nothing of it outlives this process: `stop` and an orderly exit shut it down, and when
    the process is killed the kernel asks the server to. What was committed stays. A server
    that ends by itself is started again by whoever calls `keep_up` from time to time.

    Args:
        state: the folder for its data, log and password; made where it is missing.
        settings: of the server, beside and above SETTINGS.
        account: who runs it; None for the first way that works here.
    """

    def __init__(
        self,
        state: Path,
        *,
        settings: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> None:
        self._state = state.resolve()
        self._data = self._state / "postgres"
        self._log = self._state / "postgres.log"
        self._password = self._state / "postgres.password"
        self._settings = {**SETTINGS, **(settings or {})}
        self._account = account
        self._running = ExitStack()
        self._server: Server | None = None  # None: not wanted
        self._port = 0
        self._turn = threading.Lock()  # of starting and stopping

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
        with self._turn, self._failures(), ExitStack() as running:
            self._state.mkdir(parents=True, exist_ok=True)
            running.enter_context(lock(self._state / "postgres.lock"))
            self._prepare()
            self._launch(running, (free_port() for _ in range(PORT_ATTEMPTS)))
            self._running = running.pop_all()
        return self._url(self._port)

    def keep_up(self) -> None:
        """Start the server again if it has ended by itself; its URL stays, and what was committed.

        Raises:
            OSError: its disk is full; it starts once there is room.
            StoreUnavailableError: it does not start any more.
        """
        with self._turn:
            if self._server is None or self._server.running:
                return
            self._refuse_full_disk()
            log.warning(
                "the database has ended and is started again", extra={"log": str(self._log)}
            )
            for attempt in range(1, RESTARTS + 1):
                try:
                    with self._failures():
                        end_leftovers(self._data)
                        self._launch(self._running, [self._port])
                except StoreUnavailableError:
                    self._refuse_full_disk()
                    if attempt == RESTARTS:
                        raise
                    time.sleep(RESTART_EVERY_S)
                else:
                    return

    def _refuse_full_disk(self) -> None:
        """See that its data and its log have room for what a start writes."""
        places = (self._data, self._data / "pg_wal")  # the second may be on a disk of its own
        free = min((shutil.disk_usage(one).free for one in places if one.exists()), default=0)
        if free < ROOM_BYTES:
            need = f"{free / 1e6:.0f} MB are free, {ROOM_BYTES / 1e6:.0f} MB are needed"
            raise OSError(errno.ENOSPC, f"the disk of the database in {self._data} is full: {need}")

    def stop(self) -> None:
        """Shut the server down; what it was doing for others is rolled back."""
        with self._turn:
            self._server = None
            self._running.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(
                f"the embedded PostgreSQL in {self._state} cannot start: {error}; {OTHERWISE}"
            ) from error

    def _prepare(self) -> None:
        """A data folder that nobody works in, of an account that may."""
        account = self._account = self._account or find_account(self._state)
        end_leftovers(self._data)
        if not self._data.exists():
            self._create(account)
        account.own(self._data)
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))

    def _launch(self, running: ExitStack, ports: Iterable[int]) -> None:
        account, said = self._account or find_account(self._state), ""
        for port in ports:
            said_before = self._said()
            server = Server(self._command(account, port), self._log)
            running.callback(server.stop)
            if server.wait_until_ready(self._data):
                self._server, self._port = server, port
                return
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

    def _command(self, account: Account, port: int) -> list[str]:
        settings = {**self._settings, "port": str(port)}
        options = (f"-c{name}={value}" for name, value in settings.items())
        return account.command("postgres", "-D", str(self._data), *options)

    def _url(self, port: int) -> str:
        password = self._password.read_text().strip()
        # Without TLS, which these programs lack, no client looks into the user's home for keys.
        return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"

    def _create(self, account: Account) -> None:
        fresh = self._data.with_name("postgres.new")  # until whole: a start may be cut short
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        write_secret(self._password, secrets.token_urlsafe(24) + "\n")
        account.own(fresh)
        account.own(self._password)
        unsafe = self._settings.get("fsync") == "off"
        account.run(
            "initdb",
            *("-D", str(fresh), "--username", USER, "--pwfile", str(self._password)),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"),
            *(("--no-sync",) if unsafe else ()),
        )
        account.run(
            *("postgres", "--single", "-D", str(fresh), "postgres"),
            script=f"CREATE DATABASE {DATABASE};\n",
        )
        fresh.rename(self._data)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
