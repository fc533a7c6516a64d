"""One run of a PostgreSQL server: started, watched until ready, stopped, or found left over."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from domain.errors import StoreUnavailableError

log = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 180.0  # the replay of max_wal_size after a crash, on a slow disk
STOP_TIMEOUT_S: Final = 30.0
# Fast; else at once, to recover at the next start. One that recovers from the loss of a process
# of its own may not heed the first: PostgreSQL 18 then waits for processes that nobody tells.
STOPS: Final = (signal.SIGINT, signal.SIGQUIT)
TOLD_AFTER_S: Final = 3.0  # a fast shutdown is over by then, as a rule
POLL_S: Final = 0.01


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

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

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
        while self.running:
            if ready(data, self._process.pid):
                return True
            if time.monotonic() > deadline:
                self.stop()
            time.sleep(POLL_S)
        return False

    def stop(self) -> None:
        for how in STOPS:
            self._process.send_signal(how)
            self._thread.join(STOP_TIMEOUT_S)


def ready(data: Path, pid: int) -> bool:
    """Whether postmaster.pid says that the server `pid` accepts connections."""
    try:
        first, *others = (data / "postmaster.pid").read_text().splitlines() or [""]
    except FileNotFoundError:
        return False
    return first == str(pid) and any(line.strip() == "ready" for line in others)


def end_leftovers(
    data: Path, *, within_s: float = STOP_TIMEOUT_S, told_after_s: float = TOLD_AFTER_S
) -> None:
    """End what a killed process left of its server, and forget its process id.

    To be called by the holder of the folder's lock: whatever still works in `data` has no
    owner. The id must go, for another program may have it by now.

    Args:
        data: the folder of the server.
        within_s: how long each way of ending it may take.
        told_after_s: from when on the log says what is waited for.

    Raises:
        StoreUnavailableError: it does not end.
    """
    pid_file, left = data / "postmaster.pid", working_in(data)
    began, told, first = time.monotonic(), False, 0
    for how in STOPS:
        if (first := _first(pid_file)) in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, how)
        deadline = time.monotonic() + within_s
        while (left := working_in(data)) and time.monotonic() < deadline:
            if not told and time.monotonic() - began >= told_after_s:
                told = True
                most_s = len(STOPS) * within_s
                log.warning(
                    "waiting up to %.0f s for a PostgreSQL server of before to end: it works in"
                    " %s (%s)", most_s, data, _who(left, first),
                )  # fmt: skip
            time.sleep(POLL_S)
    if left:
        raise StoreUnavailableError(
            f"a PostgreSQL server still works in {data} ({_who(left, first)}); end it first"
        )
    pid_file.unlink(missing_ok=True)


def _who(left: Sequence[int], first: int) -> str:
    """One of the processes of a server, that which started the others if it is there."""
    pid = first if first in left else left[0]
    held = f", which is stopped: `kill -CONT {pid}` lets it end" if _is_stopped(pid) else ""
    return f"process {pid}{held}"


def _is_stopped(pid: int) -> bool:
    """Whether it was sent a SIGSTOP, and heeds nothing that ends a server."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it has ended
        return False
    return said.rpartition(") ")[2].startswith("T")


def _first(pid_file: Path) -> int:
    """The process that started the others; 0 where the file names none."""
    try:
        return int(pid_file.read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return 0


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
