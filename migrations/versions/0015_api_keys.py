"""Keys of callers, and what was changed and refused by whom."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

KEYS = """
CREATE TABLE api_keys (
    key_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    digest BYTEA NOT NULL,
    scopes TEXT[] COLLATE "C" NOT NULL,
    instruments TEXT[] COLLATE "C",
    quota INTEGER NOT NULL,
    connections INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    last_used DATE,
    CONSTRAINT api_keys_pkey PRIMARY KEY (key_id),
    CONSTRAINT api_keys_digest_check CHECK (octet_length(digest) = 32),
    CONSTRAINT api_keys_quota_check CHECK (quota > 0),
    CONSTRAINT api_keys_connections_check CHECK (connections > 0)
)
"""
AUDIT = """
CREATE TABLE audit_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    caller TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    path TEXT NOT NULL,
    outcome INTEGER,
    request_id TEXT COLLATE "C",
    count BIGINT DEFAULT 1 NOT NULL,
    minute TIMESTAMP WITH TIME ZONE,
    CONSTRAINT audit_log_pkey PRIMARY KEY (id),
    CONSTRAINT audit_log_count_check CHECK (count > 0)
)
"""


def upgrade() -> None:
    op.execute(KEYS)
    op.execute(AUDIT)
    op.execute("CREATE INDEX audit_log_at_idx ON audit_log (at)")
    op.execute("""
        CREATE UNIQUE INDEX audit_log_refused_idx
        ON audit_log (minute, caller, address, outcome) WHERE minute IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("DROP TABLE audit_log")
    op.execute("DROP TABLE api_keys")
