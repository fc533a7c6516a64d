"""Whose a job is, and how far each owner is with its part."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

PARTS = """
CREATE TABLE job_parts (
    job_id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    attempts INTEGER NOT NULL,
    progress JSONB,
    result JSONB,
    detail TEXT,
    problem JSONB,
    CONSTRAINT job_parts_pkey PRIMARY KEY (job_id, owner),
    CONSTRAINT job_parts_state_check CHECK (state IN ('queued', 'running', 'done', 'failed'))
)
"""


def upgrade() -> None:
    op.execute(PARTS)
    op.execute("""
        CREATE INDEX job_parts_open_idx ON job_parts (owner)
        WHERE state IN ('queued', 'running')
    """)


def downgrade() -> None:
    op.execute("DROP TABLE job_parts")
