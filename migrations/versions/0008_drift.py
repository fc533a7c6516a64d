"""What was found to have changed, with its numbers and what was done about it."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

EVENTS = """
CREATE TABLE drift_events (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    statistic DOUBLE PRECISION NOT NULL,
    threshold DOUBLE PRECISION NOT NULL,
    window_n INTEGER NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    evidence JSONB NOT NULL,
    CONSTRAINT drift_events_pkey PRIMARY KEY (id),
    CONSTRAINT drift_events_exchange_timeframe_horizon_target_kind_at_key
        UNIQUE (exchange, timeframe, horizon, target, kind, at),
    CONSTRAINT drift_events_action_check CHECK (action IN ('retrain', 'report', 'cool_down'))
)
"""


def upgrade() -> None:
    op.execute(EVENTS)


def downgrade() -> None:
    op.execute("DROP TABLE drift_events")
