"""What the system that predicts says of itself, for servers beside it."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SYSTEM_STATUS = """
CREATE TABLE system_status (
    system TEXT COLLATE "C" NOT NULL,
    told JSONB NOT NULL,
    now TIMESTAMP WITH TIME ZONE NOT NULL,
    told_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT system_status_pkey PRIMARY KEY (system)
)
"""


def upgrade() -> None:
    op.execute(SYSTEM_STATUS)


def downgrade() -> None:
    op.execute("DROP TABLE system_status")
