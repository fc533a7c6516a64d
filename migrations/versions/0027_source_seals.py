"""Up to which close what sources told is sealed, so that no fact is dated before it any more."""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

SEALS = """
CREATE TABLE source_seals (
    name TEXT COLLATE "C" NOT NULL,
    sealed_until TIMESTAMPTZ NOT NULL,
    CONSTRAINT source_seals_pkey PRIMARY KEY (name)
)
"""


def upgrade() -> None:
    op.execute(SEALS)
    op.execute("CREATE INDEX market_metrics_known_at_idx ON market_metrics (known_at)")


def downgrade() -> None:
    op.execute("DROP INDEX market_metrics_known_at_idx")
    op.execute("DROP TABLE source_seals")
