"""Runs the migrations on the connection that backend.store.migrate hands over."""

from __future__ import annotations

from alembic import context
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

import migrations
from backend.store import schema
from backend.store.tables import metadata


def say_whom_it_serves(ctx: MigrationContext, **_: object) -> None:
    """Older programs read it, and go on; in the transaction of each step."""
    comment = f"'{schema.SERVES}{migrations.SERVES}'"
    if ctx.connection is not None:
        ctx.connection.execute(text(f"COMMENT ON TABLE alembic_version IS {comment}"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    on_version_apply=say_whom_it_serves,
)
with context.begin_transaction():
    context.run_migrations()
