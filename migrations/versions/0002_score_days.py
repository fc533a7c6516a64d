"""A cache of the losses of past days, so that a long track record is read at once."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
CREATE TABLE score_days (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    day TIMESTAMP WITH TIME ZONE NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    baseline TEXT COLLATE "C" NOT NULL,
    count INTEGER NOT NULL,
    effective_count DOUBLE PRECISION NOT NULL,
    loss DOUBLE PRECISION NOT NULL,
    baseline_loss DOUBLE PRECISION NOT NULL,
    first_as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    last_as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT score_days_pkey PRIMARY KEY (exchange, timeframe, horizon, day, role, model, origin,
        target, baseline)
)
""")


def downgrade() -> None:
    op.execute("DROP TABLE score_days")
