"""The state folder: its version, its one owner at a time, and what the owner tells others."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from domain.errors import StateFolderError

VERSION = 1  # of the folder's layout; raise it when an older program could not use it
FOREIGN = {"lost+found", "plugins"}  # of a mounted disk; of who prepares a folder
LOCK_ATTEMPTS = 5  # others look whether it is held by holding it for microseconds
LOCK_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a running system tells the commands beside it."""

    pid: int
    database_url: str
    api_host: str
    api_port: int
    api_certificate: str | None = None  # SHA-256 of the one that it shows, where it encrypts
    api_token: str = field(
        default="", repr=False
    )  # of commands beside the system: who reads it operates it


class StateFolder:
    """One folder that holds everything a system keeps on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def open(self) -> None:
        """Create the folder, or see that it is ours and of this version.

        Raises:
            StateFolderError: it is another program's, of another version, or not writable.
        """
        marker = self.path / "version"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not marker.exists():
                self._claim(marker)
            version = marker.read_text().strip()
        except OSError as error:
            raise StateFolderError(
                f"the state folder {self.path} cannot be used: {error.strerror}"
            ) from error
        if version != str(VERSION):
            raise StateFolderError(
                f"the state folder {self.path} is of version {version!r}, this program needs "
                f"{VERSION}; pass another --state, or use the program that made it"
            )

    def exists(self) -> None:
        """See that a system has run on the folder, for who only reads.

        Raises:
            StateFolderError: none has.
        """
        if not (self.path / "version").exists():
            raise StateFolderError(f"no system has run on the state folder {self.path}")

    def _claim(self, marker: Path) -> None:
        if {entry.name for entry in self.path.iterdir()} - FOREIGN:
            raise StateFolderError(
                f"{self.path} is not empty and not a state folder of AlphaPulse; "
                f"pass another --state"
            )
        marker.write_text(f"{VERSION}\n")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Open the folder and be the one process that runs a system on it.

        Raises:
            StateFolderError: another process is; the message names it.
        """
        self.open()
        with lock(self.path / "lock"):
            (self.path / "runtime.json").unlink(missing_ok=True)
            try:
                yield
            finally:
                (self.path / "runtime.json").unlink(missing_ok=True)

    def refuse_second(self) -> None:
        """See that no system runs on the folder; nothing is made.

        Raises:
            StateFolderError: one does; the message names its process.
        """
        if (owner := self.owner()) is not None:
            raise _in_use(self.path, owner)

    def publish(self, runtime: Runtime) -> None:
        """Tell the commands beside this system where it is; only its user can read it."""
        write_secret(self.path / "runtime.json", json.dumps(asdict(runtime), indent=2) + "\n")

    def attach(self) -> Runtime | None:
        """Where the running system is; None when none runs, or it is still starting."""
        try:
            text = (self.path / "runtime.json").read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateFolderError(
                f"the state folder {self.path} cannot be read: {error.strerror}"
            ) from error
        return Runtime(**json.loads(text)) if self.owner() else None

    def owner(self) -> int | None:
        """The process that runs a system on this folder, if one does."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(descriptor)
        finally:
            os.close(descriptor)
        return None


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock file in a state folder; the kernel lets go of it when the process dies.

    Raises:
        StateFolderError: another process holds it, or it cannot be locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateFolderError(
            f"the state folder {path.parent} cannot be used: {error.strerror}"
        ) from error
    try:
        _acquire(descriptor, path.parent)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, folder: Path) -> None:
    for attempt in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == LOCK_ATTEMPTS - 1:
                raise _in_use(folder, _holder(descriptor)) from None
            time.sleep(LOCK_PAUSE_S)
        except OSError as error:
            raise StateFolderError(
                f"the state folder {folder} cannot be locked: {error.strerror}"
            ) from error
        else:
            return


def _in_use(folder: Path, owner: int) -> StateFolderError:
    return StateFolderError(
        f"the state folder {folder} is in use by process {owner}; stop it, or pass another --state"
    )


def _holder(descriptor: int) -> int:
    return int(os.pread(descriptor, 20, 0) or 0)


def write_secret(path: Path, text: str) -> None:
    """Put `text` into `path` whole or not at all, readable by this user only."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
