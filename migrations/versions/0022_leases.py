"""Which process does what alone, and which panels there are to be run."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

LEASES = """
CREATE TABLE leases (
    name TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    holder TEXT COLLATE "C" NOT NULL,
    taken_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT leases_pkey PRIMARY KEY (name)
)
"""
PANELS = """
CREATE TABLE open_panels (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    opening BIGINT NOT NULL,
    opened_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT open_panels_pkey PRIMARY KEY (exchange, timeframe)
)
"""


def upgrade() -> None:
    op.execute(LEASES)
    op.execute(PANELS)


def downgrade() -> None:
    op.execute("DROP TABLE open_panels")
    op.execute("DROP TABLE leases")
