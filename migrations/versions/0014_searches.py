"""Searches for parameters, and what they tried."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

SEARCHES = """
CREATE TABLE searches (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    recipe JSONB NOT NULL,
    seed INTEGER NOT NULL,
    feature_set TEXT COLLATE "C" NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    maximum_rows INTEGER NOT NULL,
    data_sha256 TEXT COLLATE "C" NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    found JSONB,
    CONSTRAINT searches_pkey PRIMARY KEY (id)
)
"""
TRIALS = """
CREATE TABLE search_trials (
    search_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    parameters JSONB NOT NULL,
    loss DOUBLE PRECISION,
    tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT search_trials_pkey PRIMARY KEY (search_id, number),
    CONSTRAINT search_trials_loss_check CHECK (loss > '-Infinity' AND loss < 'Infinity')
)
"""


def upgrade() -> None:
    op.execute(SEARCHES)
    op.execute(TRIALS)


def downgrade() -> None:
    op.execute("DROP TABLE search_trials")
    op.execute("DROP TABLE searches")
