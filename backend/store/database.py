"""Connections to PostgreSQL by URL, and our own error when there is none."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from domain.errors import StoreUnavailableError, in_one_line
from domain.ports import Clock
from domain.troubles import Trouble

log = logging.getLogger(__name__)

T = TypeVar("T")
PoolOrConnection: TypeAlias = asyncpg.Pool | asyncpg.Connection

WRITERS: Final = 4  # connections: the tick, its second transaction, training, one to spare
READERS: Final = 8  # requests wait here for each other, never for or before a writer
CONNECT_TIMEOUT_S: Final = 10.0
RETRY_EVERY: Final = timedelta(seconds=1)  # wall time, while the server is away
COMMAND_TIMEOUT_S: Final = 60.0  # above the longest statement of ours, a backfill's COPY

# The server is gone, going, not there yet, or cannot do it now: worth another try with the same
# data.
CONNECTION_ERRORS: Final = (
    StoreUnavailableError,  # what we make of those below
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # said of a connection that broke within a statement
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it is stopped, or somebody cancelled the statement
    asyncpg.InsufficientResourcesError,  # disk, memory, connections
    asyncpg.PostgresIOError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or an operator's hand
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,  # a deadlock
    asyncpg.IdleInTransactionSessionTimeoutError,
)


_END_SESSIONS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = $1 AND backend_type = 'client backend'
"""
_OF_THE_DRIVER: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError)
_waits: Final[dict[object, Trouble]] = {}


def away(error: BaseException) -> bool:
    """Whether an error says that the database is away: of a group, whether all of it does.

    That a file is missing or cannot be opened is another matter.

    >>> away(ExceptionGroup("of tasks", [StoreUnavailableError(), TimeoutError()]))
    True
    >>> away(ExceptionGroup("of tasks", [StoreUnavailableError(), ValueError()]))
    False
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(away, error.exceptions))
    of_a_file = isinstance(error, OSError) and error.filename is not None
    return isinstance(error, CONNECTION_ERRORS) and not of_a_file


def why_away(error: BaseException) -> str:
    """What such an error says, in one line; of a lost connection, what it was lost by.

    The driver's own words for a connection that it cannot use any more follow the server's.
    """
    before = error.__context__
    while isinstance(error, _OF_THE_DRIVER) and before is not None and away(before):
        error, before = before, before.__context__
    return in_one_line(error)


async def connect_pool(
    url: str,
    *,
    size: int = WRITERS,
    read_only: bool = False,
    settings: Mapping[str, str] | None = None,
) -> asyncpg.Pool:
    """A pool of up to `size` connections in UTC; one is opened at once.

    Args:
        url: `postgresql://user:password@host:port/database`, with libpq's parameters.
        size: the most connections it opens.
        read_only: the server refuses writes on them.
        settings: further server settings, such as `synchronous_commit`.

    Raises:
        StoreUnavailableError: no connection; one line, without the password.
    """
    server_settings = {"application_name": "alphapulse", "timezone": "UTC", **(settings or {})}
    if read_only:
        server_settings["default_transaction_read_only"] = "on"
    with reachable(url):
        return await asyncpg.create_pool(
            dsn(url),
            min_size=1,
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=server_settings,
            setup=None if read_only else _refuse_read_only,
        )


async def _refuse_read_only(connection: Any) -> None:  # noqa: ANN401 - asyncpg's proxy
    """Close a session that cannot write: it may be one of before a failover, and stay so for ever.

    The server says so by itself, from version 14 on; nothing is asked.

    Raises:
        asyncpg.ReadOnlySQLTransactionError: it cannot.
    """
    said = connection.get_settings()
    if getattr(said, "in_hot_standby", "off") == "on":
        raise asyncpg.ReadOnlySQLTransactionError("the database is a standby and takes no writes")
    if getattr(said, "default_transaction_read_only", "off") == "on":
        raise asyncpg.ReadOnlySQLTransactionError("the database is set to be read only")


@asynccontextmanager
async def pool_of_one(url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool of one connection, for work in a process of its own.

    Raises:
        StoreUnavailableError: no connection, or it is lost meanwhile; one line.
    """
    pool = await connect_pool(url, size=1)
    try:
        yield pool
    except CONNECTION_ERRORS as error:
        raise StoreUnavailableError(f"the database is gone: {why_away(error)}") from error
    finally:
        await pool.close()


async def connect(url: str, **options: Any) -> asyncpg.Connection:  # noqa: ANN401 - asyncpg's
    """One connection, for work that needs no pool.

    Raises:
        StoreUnavailableError: no connection; one line, without the password.
    """
    with reachable(url):
        return await asyncpg.connect(dsn(url), timeout=CONNECT_TIMEOUT_S, **options)


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Turn a failure to connect into our own error, in one line and without the password."""
    try:
        yield
    except ValueError:  # its message may quote parts of the password
        raise StoreUnavailableError(
            f"cannot reach the database {redact(url)}: not a URL like postgresql://user:password"
            f"@host:5432/name, where special characters of a password are written as %XX"
        ) from None
    except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
        reason = " ".join(str(error).split()) or "no answer"
        raise StoreUnavailableError(f"cannot reach the database {redact(url)}: {reason}") from error


async def patiently(write: Callable[[], Awaitable[T]], wall: Clock) -> T:
    """Write, again and again while the database is away; meanwhile it is among the `waits`."""
    key, said = object(), ""
    try:
        while True:
            try:
                return await write()
            except Exception as error:
                if not away(error):
                    raise
                reason = why_away(error)
                since = _waits[key].since if key in _waits else wall.now()
                _waits[key] = Trouble(about="database", since=since, reason=reason, grave=True)
                if reason != said:
                    log.warning("waiting for the database", extra={"reason": reason})
                said = reason
                await wall.sleep(RETRY_EVERY)
    finally:
        if _waits.pop(key, None) is not None:
            log.info("no longer waiting for the database")


def waits() -> list[Trouble]:
    """Whatever in this process tries again now, the longest first."""
    return sorted(_waits.values(), key=lambda one: one.since)


def affected(status: str) -> int:
    """How many rows a statement changed, by what the server says of it.

    >>> affected("INSERT 0 3")
    3
    """
    return int(status.rpartition(" ")[2])


async def create_database(url: str, name: str, *, template: str | None = None) -> str:
    """Create the database `name` on the server of `url`, and return its URL.

    Args:
        url: any database of the server, of a user who may create databases.
        name: of the new database.
        template: a database to copy, to which nobody is connected.

    Raises:
        StoreUnavailableError: no connection.
        asyncpg.PostgresError: the server refuses.
    """
    # Copying files takes a tenth of the time of writing them through the log, the default.
    copy = f" TEMPLATE {quoted(template)} STRATEGY file_copy" if template else ""
    await _execute(url, f"CREATE DATABASE {quoted(name)}{copy}")
    return with_database(url, name)


async def drop_database(url: str, name: str) -> None:
    """Drop the database `name` if it exists, whoever of the user's is connected to it."""
    drop = f"DROP DATABASE IF EXISTS {quoted(name)}"
    connection = await connect(url)
    try:
        await connection.execute(f"{drop} WITH (FORCE)")
    except asyncpg.InsufficientPrivilegeError:
        # Not everyone may end the autovacuum worker in it, and without force nobody needs to.
        await connection.execute(_END_SESSIONS, name)
        await connection.execute(drop)
    finally:
        await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def quoted(name: str) -> str:
    """A name as SQL has it, whatever is in it.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def with_database(url: str, name: str) -> str:
    """The URL of another database on the same server.

    >>> with_database("postgresql://me:secret@localhost/one?sslmode=require", "two")
    'postgresql://me:secret@localhost/two?sslmode=require'
    """
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def dsn(url: str) -> str:
    """The URL as asyncpg wants it, whatever driver it names.

    >>> dsn("postgresql+asyncpg://localhost/one")
    'postgresql://localhost/one'
    """
    return re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url)


def redact(url: str) -> str:
    """The URL for people: without its password, and that of a client's key.

    >>> redact("postgresql://me:p@ss:/word@localhost:5432/one")
    'postgresql://me:***@localhost:5432/one'
    >>> redact("postgresql://localhost/one?user=me&password=secret")
    'postgresql://localhost/one?user=me&password=***'
    >>> redact("postgresql://localhost/one?sslkey=a.key&sslpassword=secret")
    'postgresql://localhost/one?sslkey=a.key&sslpassword=***'
    >>> redact("postgres:me:secret@localhost/one")
    '***@localhost/one'
    """
    if "://" not in url:
        url = re.sub(r"^.*@", "***@", url)
    url = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", url)
