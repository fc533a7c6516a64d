"""A pytest plugin that writes down every statement of ours which a server was given.

`pytest -p tests.releases.recording --statements FILE …`: each is one line of JSON, sorted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from asyncpg.connection import Connection

WAYS: Final = ("execute", "_get_statement", "_copy_in", "_copy_out")  # what all others call
OURS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "CREATE TEMP", 'COPY "')
THEIRS: Final = ("typeinfo_tree", "current_setting('jit')")  # what asyncpg asks for itself
_said: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--statements", type=Path, required=True, help="the file to write")


def pytest_configure() -> None:
    for way in WAYS:
        setattr(Connection, way, _noting(getattr(Connection, way)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Add what was said to the file; workers of one run come one after another."""
    file: Path = config.getoption("--statements")
    write(file, {*(read(file) if file.exists() else ()), *_said})


def write(file: Path, statements: Iterable[str]) -> None:
    """A line for each, in their order."""
    file.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in sorted(statements)))


def read(file: Path) -> list[str]:
    """The statements of a file."""
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


def _noting(call: Callable[..., Any]) -> Callable[..., Any]:
    def noting(connection: Connection, statement: str, *rest: Any, **named: Any) -> Any:
        if _is_ours(statement):
            _said.add(statement)
        return call(connection, statement, *rest, **named)

    return noting


def _is_ours(statement: str) -> bool:
    """Whether a file of `backend` asks it, through asyncpg."""
    return (
        statement.lstrip().startswith(OURS)
        and not any(words in statement for words in THEIRS)
        and next(_callers()).startswith("backend.")
    )


def _callers() -> Iterator[str]:
    frame = sys._getframe(2)
    while frame.f_back is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and not name.startswith(("asyncpg", "contextlib")):
            yield name
        frame = frame.f_back
    yield ""
