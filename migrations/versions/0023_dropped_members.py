"""Up to when the rows of members and challengers were dropped."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

DROPPED = """
CREATE TABLE dropped_members (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT dropped_members_pkey PRIMARY KEY (exchange, timeframe, horizon)
)
"""


def upgrade() -> None:
    op.execute(DROPPED)


def downgrade() -> None:
    op.execute("DROP TABLE dropped_members")
