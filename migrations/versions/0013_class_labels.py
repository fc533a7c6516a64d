"""Labels that are classes, and what was said of them."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

LABELS = """
CREATE TABLE ml_class_labels (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    label_kind TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    known_at TIMESTAMP WITH TIME ZONE NOT NULL,
    class TEXT COLLATE "C",
    CONSTRAINT ml_class_labels_pkey PRIMARY KEY (
        instrument_id, timeframe, label_kind, horizon, as_of, revision
    ),
    CONSTRAINT ml_class_labels_later_check CHECK (known_at > as_of)
)
"""
PREDICTIONS = """
CREATE TABLE ml_class_predictions (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    label_kind TEXT COLLATE "C" NOT NULL,
    horizon INTEGER NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    revision INTEGER NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    served BOOLEAN NOT NULL,
    degraded TEXT COLLATE "C" DEFAULT '' NOT NULL,
    probabilities JSONB NOT NULL,
    CONSTRAINT ml_class_predictions_pkey PRIMARY KEY (
        instrument_id, timeframe, label_kind, horizon, as_of, revision, model
    ),
    CONSTRAINT ml_class_predictions_origin_check
        CHECK (origin IN ('live', 'late', 'backtest'))
)
"""


def upgrade() -> None:
    op.execute(LABELS)
    op.execute(PREDICTIONS)


def downgrade() -> None:
    op.execute("DROP TABLE ml_class_predictions")
    op.execute("DROP TABLE ml_class_labels")
