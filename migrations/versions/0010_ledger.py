"""What signals are staked on, and where the paper account stood at each close."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

AMOUNTS = (
    *("capital", "equity", "realized", "unrealized", "fees", "slippage", "funding", "traded"),
    *("mean_exposure", "drawdown", "max_drawdown", "hold_equity", "hold_max_drawdown"),
)


def upgrade() -> None:
    op.execute("""
ALTER TABLE trading_signals ADD COLUMN expected_edge_bps DOUBLE PRECISION, ADD COLUMN votes JSONB,
    ADD CONSTRAINT trading_signals_edge_check
    CHECK (expected_edge_bps > '-Infinity' AND expected_edge_bps < 'Infinity')
""")
    op.execute("""
CREATE INDEX trading_signals_sides_idx ON trading_signals (instrument_id, timeframe, as_of)
WHERE side <> 'flat'
""")
    columns = "".join(f"{name} DOUBLE PRECISION NOT NULL,\n    " for name in AMOUNTS)
    finite = " AND ".join(f"{name} > '-Infinity' AND {name} < 'Infinity'" for name in AMOUNTS)
    op.execute(f"""
CREATE TABLE ledger_marks (
    exchange TEXT COLLATE "C" NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    currency TEXT COLLATE "C" NOT NULL,
    {columns}trades INTEGER NOT NULL,
    funding_not_charged INTEGER NOT NULL,
    refused JSONB NOT NULL,
    positions JSONB NOT NULL,
    CONSTRAINT ledger_marks_pkey PRIMARY KEY (exchange, timeframe, at),
    CONSTRAINT ledger_marks_finite_check CHECK ({finite})
)
""")


def downgrade() -> None:
    op.execute("DROP TABLE ledger_marks")
    op.execute("DELETE FROM state_snapshots WHERE room = 'ledger'")
    op.execute("DROP INDEX trading_signals_sides_idx")
    op.execute("ALTER TABLE trading_signals DROP COLUMN expected_edge_bps, DROP COLUMN votes")
