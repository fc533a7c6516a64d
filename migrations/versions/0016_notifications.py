"""Notifications: what channels are told, and how far the record was read for them."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

NOTIFICATIONS = """
CREATE TABLE notifications (
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    id TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    event TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    body TEXT NOT NULL,
    state TEXT COLLATE "C" DEFAULT 'pending' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE NOT NULL,
    sent_at TIMESTAMP WITH TIME ZONE,
    error TEXT,
    CONSTRAINT notifications_pkey PRIMARY KEY (number),
    CONSTRAINT notifications_id_key UNIQUE (id),
    CONSTRAINT notifications_state_check CHECK (state IN ('pending', 'sent', 'dead')),
    CONSTRAINT notifications_sent_check CHECK ((state = 'sent') = (sent_at IS NOT NULL))
)
"""
CURSORS = """
CREATE TABLE notification_cursors (
    log TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    CONSTRAINT notification_cursors_pkey PRIMARY KEY (log)
)
"""
STALE = """
CREATE TABLE stale_predictions (
    exchange TEXT COLLATE "C" NOT NULL,
    symbol TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT stale_predictions_pkey PRIMARY KEY (exchange, symbol, timeframe)
)
"""
INDEXES = (
    "CREATE INDEX notifications_created_at_idx ON notifications (created_at)",
    "CREATE INDEX notifications_unsent_idx ON notifications (channel, state, subject, number)"
    " WHERE state <> 'sent'",
    "CREATE INDEX source_states_known_at_idx ON source_states (known_at)",
)


def upgrade() -> None:
    for statement in (NOTIFICATIONS, CURSORS, STALE, *INDEXES):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX source_states_known_at_idx")
    for table in ("stale_predictions", "notification_cursors", "notifications"):
        op.execute(f"DROP TABLE {table}")
