"""Instruments that an order removed, and the signals that were open when one left."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATUS = """
ALTER TABLE trading_signals DROP CONSTRAINT trading_signals_status_check,
    ADD CONSTRAINT trading_signals_status_check CHECK (status IN ({}))
"""


def upgrade() -> None:
    op.execute("ALTER TABLE instruments ADD COLUMN removed BOOLEAN NOT NULL DEFAULT false")
    op.execute(
        STATUS.format(
            "'pending', 'active', 'take_profit', 'stop_loss', 'expired', 'withdrawn', 'flat'"
        )
    )


def downgrade() -> None:
    op.execute("ALTER TABLE instruments DROP COLUMN removed")
    op.execute("UPDATE trading_signals SET status = 'expired' WHERE status = 'withdrawn'")
    op.execute(STATUS.format("'pending', 'active', 'take_profit', 'stop_loss', 'expired', 'flat'"))
