"""The gap ledger keeps what was filled, and knows the grid that is expected of each series."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What was open may overlap; the first audit lists it again.
    op.execute("DELETE FROM ingest_gaps WHERE state <> 'filled' OR filled_at IS NULL")
    op.execute("ALTER TABLE ingest_gaps DROP CONSTRAINT ingest_gaps_pkey")
    op.execute("""
ALTER TABLE ingest_gaps
    ADD CONSTRAINT ingest_gaps_pkey
        PRIMARY KEY (instrument_id, timeframe, from_time, detected_at),
    ADD CONSTRAINT ingest_gaps_filled_check
        CHECK ((state = 'filled') = (filled_at IS NOT NULL))
""")
    op.execute("""
CREATE UNIQUE INDEX ingest_gaps_missing_idx ON ingest_gaps (instrument_id, timeframe, from_time)
WHERE state <> 'filled'
""")
    op.execute("""
CREATE TABLE candle_extents (
    instrument_id INTEGER NOT NULL,
    timeframe TEXT COLLATE "C" NOT NULL,
    from_time TIMESTAMP WITH TIME ZONE NOT NULL,
    to_time TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT candle_extents_pkey PRIMARY KEY (instrument_id, timeframe),
    CONSTRAINT candle_extents_times_check CHECK (to_time > from_time)
)
""")


def downgrade() -> None:
    op.execute("DROP TABLE candle_extents")
    op.execute("DROP INDEX ingest_gaps_missing_idx")
    op.execute("""
DELETE FROM ingest_gaps AS older USING ingest_gaps AS newer
WHERE older.instrument_id = newer.instrument_id AND older.timeframe = newer.timeframe
    AND older.from_time = newer.from_time AND older.detected_at < newer.detected_at
""")
    op.execute("""
ALTER TABLE ingest_gaps
    DROP CONSTRAINT ingest_gaps_filled_check,
    DROP CONSTRAINT ingest_gaps_pkey,
    ADD CONSTRAINT ingest_gaps_pkey PRIMARY KEY (instrument_id, timeframe, from_time)
""")
