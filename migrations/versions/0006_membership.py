"""Instruments that join a running system: since when, and that no setting names them."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE instruments ADD COLUMN joined_at TIMESTAMP WITH TIME ZONE")
    op.execute("ALTER TABLE instruments ADD COLUMN added BOOLEAN NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE instruments DROP COLUMN joined_at, DROP COLUMN added")
