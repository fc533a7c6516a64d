"""The series of the big tables, as views: how they are found depends on the server."""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

SERIES = {
    "candles": ("instrument_id", "timeframe"),
    "ml_features_ohlcv": ("instrument_id", "timeframe", "feature_set"),
    "ml_predictions": ("instrument_id", "timeframe", "horizon"),
    "ml_prediction_outcomes": ("instrument_id", "timeframe", "horizon"),
}


def upgrade() -> None:
    for table, names in SERIES.items():
        op.execute(f"CREATE VIEW {table}_series AS {skip_scan(table, names)}")


def downgrade() -> None:
    for table in SERIES:
        op.execute(f"DROP VIEW {table}_series")


def skip_scan(table: str, names: tuple[str, ...]) -> str:
    """Steps over the primary key, which begins with these columns."""
    columns = ", ".join(names)
    ours, last = (", ".join(f"{of}.{name}" for name in names) for of in ("t", "s"))
    return f"""
WITH RECURSIVE s AS (
    (SELECT {columns} FROM {table} ORDER BY {columns} LIMIT 1)
    UNION ALL
    SELECT following.* FROM s, LATERAL (
        SELECT {ours} FROM {table} t WHERE ({ours}) > ({last}) ORDER BY {ours} LIMIT 1
    ) following
)
SELECT {columns} FROM s
"""  # noqa: S608 - names are ours
