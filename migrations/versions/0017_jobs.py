"""Jobs that callers asked for."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

JOBS = """
CREATE TABLE jobs (
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    request JSONB NOT NULL,
    caller TEXT COLLATE "C" NOT NULL,
    idempotency_key TEXT COLLATE "C",
    request_sha256 BYTEA NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    progress JSONB,
    result JSONB,
    detail TEXT,
    CONSTRAINT jobs_pkey PRIMARY KEY (id),
    CONSTRAINT jobs_caller_idempotency_key_key UNIQUE (caller, idempotency_key),
    CONSTRAINT jobs_request_sha256_check CHECK (octet_length(request_sha256) = 32),
    CONSTRAINT jobs_state_check CHECK (state IN ('queued', 'running', 'done', 'failed')),
    CONSTRAINT jobs_ended_check CHECK ((state IN ('done', 'failed')) = (ended_at IS NOT NULL))
)
"""


def upgrade() -> None:
    op.execute(JOBS)
    op.execute("CREATE INDEX jobs_created_at_idx ON jobs (created_at, id)")
    op.execute("""
        CREATE INDEX jobs_open_idx ON jobs (kind, created_at)
        WHERE state IN ('queued', 'running')
    """)


def downgrade() -> None:
    op.execute("DROP TABLE jobs")
