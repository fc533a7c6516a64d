"""How each source of texts and measurements was doing, from when on it was known."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
CREATE TABLE source_states (
    source TEXT COLLATE "C" NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT source_states_pkey PRIMARY KEY (source, known_at),
    CONSTRAINT source_states_state_check CHECK (state IN ('ok', 'stale', 'down', 'off')),
    CONSTRAINT source_states_times_check CHECK (since <= known_at)
)
""")


def downgrade() -> None:
    op.execute("DROP TABLE source_states")
