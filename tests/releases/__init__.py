"""What each release leaves for those after it: its statements, and a state folder of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
EXPANDED: Final = """
DO $$ DECLARE one text; BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN more int NOT NULL DEFAULT 0', one);
    END LOOP;
END $$
"""  # a migration that adds a column to every table


@dataclass(frozen=True, slots=True)
class Release:
    """A folder here, named VERSION+SCHEMA."""

    folder: Path

    def __str__(self) -> str:
        return self.folder.name

    @property
    def schema(self) -> str:
        return self.folder.name.partition("+")[2]

    @property
    def statements(self) -> Path:
        """All that it asks of a database."""
        return self.folder / "statements.jsonl"

    @property
    def backup(self) -> Path:
        """Of a state folder of it, as `alphapulse restore` takes it."""
        return self.folder / "backup"

    @property
    def said(self) -> Path:
        """What its models said, by which they are known again."""
        return self.folder / "said.json"


RELEASES: Final = tuple(
    sorted((Release(one) for one in HERE.glob("*+*")), key=lambda one: one.schema)
)
