"""Up to when feature rows were dropped, and when they began."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

DROPPED = """
CREATE TABLE dropped_features (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    beginning TIMESTAMP WITH TIME ZONE NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT dropped_features_pkey PRIMARY KEY (exchange, timeframe)
)
"""


def upgrade() -> None:
    op.execute(DROPPED)


def downgrade() -> None:
    op.execute("DROP TABLE dropped_features")
