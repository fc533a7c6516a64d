"""How far a prediction's features are from the rows that its models were fitted on."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE ml_predictions ADD COLUMN dissimilarity DOUBLE PRECISION,"
        " ADD CONSTRAINT ml_predictions_dissimilarity_check"
        " CHECK (dissimilarity >= 0 AND dissimilarity < 'Infinity')"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE ml_predictions DROP COLUMN dissimilarity")
