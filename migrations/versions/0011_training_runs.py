"""Trainings that were begun, so that one that was cut short is taken up again."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RUNS = """
CREATE TABLE training_runs (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    effective_from TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    split TEXT COLLATE "C" NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT training_runs_pkey PRIMARY KEY (exchange, timeframe, horizon, as_of)
)
"""


def upgrade() -> None:
    op.execute(RUNS)


def downgrade() -> None:
    op.execute("DROP TABLE training_runs")
