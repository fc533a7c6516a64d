"""In which order jobs were entered, by the database: clocks of those who enter them may differ."""

from __future__ import annotations

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# By their times, as they were done before.
NUMBERED = """
UPDATE jobs SET number = entered.number
FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS number FROM jobs) AS entered
WHERE jobs.id = entered.id
"""
NEXT = """
SELECT setval(pg_get_serial_sequence('jobs', 'number'), max(number)) FROM jobs
HAVING count(*) > 0
"""


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN number BIGINT")
    op.execute(NUMBERED)
    op.execute("""
        ALTER TABLE jobs ALTER COLUMN number SET NOT NULL,
            ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY
    """)
    op.execute(NEXT)


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP COLUMN number")
