"""Brings a database to the schema of this program, or back, through Alembic.

Every function opens an event loop of its own: call it where none runs, or through
`asyncio.to_thread`. SQLAlchemy and Alembic are imported when a function is called; a
command that migrates nothing does not pay for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

import migrations
from backend.store import database
from backend.store.hypertables import arrange
from backend.store.schema import LOOK, Schema, Standing
from domain.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection
    from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)

T = TypeVar("T")

LOCK: Final = 0x616C7068  # of `pg_advisory_lock`: processes that start together take turns


def upgrade(url: str) -> None:
    """Bring the database to the newest schema; one of a newer program that serves this one stays.

    Where its server has them, the big tables are hypertables then.

    Raises:
        StoreUnavailableError: no connection.
        StoreError: the database is of a newer program that does not serve this one, or refuses a
            step; the step is undone.
    """
    from alembic import command  # noqa: PLC0415

    _migrate(
        url,
        lambda config: command.upgrade(config, "head"),
        then=arrange,
        unless=Standing.SERVED,
    )


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision` (`base` for nothing), losing what came later.

    Raises:
        StoreUnavailableError: no connection.
        StoreError: as `upgrade`, or there is no such revision.
    """
    from alembic import command  # noqa: PLC0415

    _migrate(url, lambda config: command.downgrade(config, revision))


def current(url: str) -> str | None:
    """The revision of the database; None when it has no schema.

    Raises:
        StoreUnavailableError: no connection.
    """
    return _connected(url, _revision)


@cache
def heads() -> list[str]:
    """The newest revisions of this program; more than one is a mistake."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    return ScriptDirectory.from_config(_config()).get_heads()


def standing(schema: Schema) -> Standing:
    """What a schema is to this program."""
    return schema.standing(_known(), heads())


@cache
def _known() -> frozenset[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    steps = ScriptDirectory.from_config(_config()).walk_revisions()
    return frozenset(step.revision for step in steps)


def _migrate(
    url: str,
    command: Callable[[Config], None],
    *,
    then: Callable[[Connection], None] | None = None,
    unless: Standing | None = None,
) -> None:
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    def work(connection: Connection) -> None:
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        connection.commit()
        if _revision(connection) is not None:
            found = Schema.said(*connection.execute(text(LOOK)).one())
            if (stands := standing(found)) is unless:
                log.debug("the schema is a newer program's", extra={"schema": found.revision})
                return
            if stands in {Standing.SERVED, Standing.FOREIGN}:
                raise StoreError(
                    f"the database {database.redact(url)} has schema {found.revision}, which this "
                    f"program does not know; use a newer program"
                )
        config = _config()
        config.attributes["connection"] = connection
        command(config)
        if then is not None:
            then(connection)
        connection.commit()

    try:
        _connected(url, work)
    except DBAPIError as error:
        raise _refused(url, error) from (error.orig and error.orig.__cause__) or error
    except CommandError as error:
        raise StoreError(str(error)) from error


def _refused(url: str, error: DBAPIError) -> StoreError:
    """What the database said to a step: for good, or because it is away."""
    reason = str(error.orig).partition(": ")[2] or str(error.orig)
    away = isinstance(error.orig and error.orig.__cause__, database.CONNECTION_ERRORS)
    return (StoreUnavailableError if away else StoreError)(
        f"the database {database.redact(url)} cannot be migrated: {' '.join(reason.split())}"
    )


def _revision(connection: Connection) -> str | None:
    from alembic.migration import MigrationContext  # noqa: PLC0415

    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    folder = migrations.__path__[0]
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config


def _connected(url: str, work: Callable[[Connection], T]) -> T:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    async def run() -> T:
        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=lambda: database.connect(url), poolclass=NullPool
        )
        async with engine.connect() as connection:
            return await connection.run_sync(work)

    return asyncio.run(run())
