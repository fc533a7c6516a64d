"""Where each log of streams begins since older events were dropped."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

BASES = """
CREATE TABLE stream_bases (
    log TEXT COLLATE "C" NOT NULL,
    block BIGINT NOT NULL,
    offsets BIGINT[] NOT NULL,
    hashes BYTEA NOT NULL,
    first_as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    last_as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    published_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT stream_bases_pkey PRIMARY KEY (log)
)
"""


def upgrade() -> None:
    op.execute(BASES)


def downgrade() -> None:
    op.execute("DROP TABLE stream_bases")
