"""A database as one file, and back, by PostgreSQL's own programs."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from backend.store.database import dsn
from backend.store.programs import WHEEL
from domain.errors import StoreError, UsageError

PROGRAMS: Final = ("pg_dump", "pg_restore")
SYSTEM: Final = Path("/usr/lib/postgresql")  # Debian's, a folder for each release


async def dump(url: str, snapshot: str, file: Path, *, server: int) -> None:
    """Write the database as it is in an exported snapshot to `file`, compressed.

    Args:
        url: of the database.
        snapshot: what `pg_export_snapshot` gave, of a transaction that is still open.
        file: made, or written over.
        server: its major version.

    Raises:
        StoreError: the program failed, or none is new enough.
    """
    what = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
    await _run(find_programs(server), "pg_dump", url, *what, f"--file={file}")


async def load(url: str, file: Path, *, server: int) -> None:
    """Make an empty database what `file` has: all of it, or nothing.

    Raises:
        StoreError: as `dump`.
    """
    how = ("--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges")
    await _run(find_programs(server), "pg_restore", url, *how, str(file))


def find_programs(server: int) -> Path:
    """The folder of the oldest programs that know a server of this major version.

    A newer program writes statements that an older server refuses.

    Raises:
        StoreError: there are none.
    """
    found: dict[int, Path] = {}
    for folder in _folders():
        if all((folder / one).exists() for one in PROGRAMS):
            found.setdefault(_major(folder), folder)
    fitting = [major for major in found if major >= server]
    if not fitting:
        raise StoreError(
            f"no pg_dump of PostgreSQL {server} or newer is installed here; install the client"
            " programs of the server's version"
        )
    return found[min(fitting)]


def _folders() -> Iterator[Path]:
    if found := shutil.which("pg_dump"):
        yield Path(found).parent
    yield from sorted(SYSTEM.glob("*/bin"))
    wheel = importlib.util.find_spec(WHEEL)  # found, not imported
    for home in (wheel.submodule_search_locations or ()) if wheel else ():
        yield from sorted(Path(home).glob("pginstall*/bin"))


def _major(folder: Path) -> int:
    said = subprocess.run(  # noqa: S603 - a program of PostgreSQL
        [folder / "pg_dump", "--version"], capture_output=True, text=True, check=False
    ).stdout
    number = re.search(r" (\d+)", said)
    return int(number.group(1)) if number else 0


def without_password(url: str) -> tuple[str, str | None]:
    """A URL for a command line, which all on the machine may read, and the password apart.

    >>> without_password("postgresql://me:secret@localhost:5432/one")
    ('postgresql://me@localhost:5432/one', 'secret')
    >>> without_password("postgresql:///one?host=/run&options=-c%20a%3Db&password=p%40+s")
    ('postgresql:///one?host=/run&options=-c%20a%3Db', 'p@+s')
    >>> without_password("postgresql://localhost/one")
    ('postgresql://localhost/one', None)

    Raises:
        UsageError: it has the password of a client's key, which libpq takes nowhere else.
    """
    parts = urlsplit(dsn(url))
    user, at, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    asked = [(*each.partition("="), each) for each in parts.query.split("&")]
    given = {unquote(key): unquote(value) for key, _, value, _ in asked}
    if "sslpassword" in given:
        raise UsageError(
            "the database's URL has an sslpassword, which pg_dump and pg_restore take only where"
            " all on the machine may read it: name a key without a password in sslkey"
        )
    said = given.get("password", unquote(password) if password else None)
    query = "&".join(each for key, _, _, each in asked if unquote(key) != "password")
    address = f"{name}{at}{host}"
    # urlunsplit leaves the slashes out before an address that is empty.
    return f"{parts.scheme}://{address}{parts.path}{'?' if query else ''}{query}", said


async def _run(folder: Path, program: str, url: str, *arguments: str) -> None:
    shown, password = without_password(url)
    process = await asyncio.create_subprocess_exec(
        folder / program,
        "--no-password",
        f"--dbname={shown}",
        *arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **({} if password is None else {"PGPASSWORD": password})},
    )
    _, said = await process.communicate()
    if process.returncode:
        reason = " ".join(said.decode(errors="replace").split())
        raise StoreError(f"{program} failed: {reason or f'exit status {process.returncode}'}")
