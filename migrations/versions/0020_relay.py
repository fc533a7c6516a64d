"""How far the stream log was put on each broker."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

CURSORS = """
CREATE TABLE relay_cursors (
    cluster TEXT COLLATE "C" NOT NULL,
    log TEXT COLLATE "C" NOT NULL,
    block BIGINT NOT NULL,
    CONSTRAINT relay_cursors_pkey PRIMARY KEY (cluster, log)
)
"""


def upgrade() -> None:
    op.execute(CURSORS)


def downgrade() -> None:
    op.execute("DROP TABLE relay_cursors")
