"""How often a job was begun and came to no end."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE jobs ALTER COLUMN attempts DROP DEFAULT")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP COLUMN attempts")
