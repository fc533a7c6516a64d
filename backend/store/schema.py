"""Which schema a database has, and whether this program can work on it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

import asyncpg

from backend.store.database import PoolOrConnection

SERVES: Final = "serves "  # before a revision, in the comment on the table that holds ours
LOOK: Final = """
SELECT (SELECT version_num FROM alembic_version) AS revision,
       obj_description('alembic_version'::regclass, 'pg_class') AS comment
"""


class Standing(Enum):
    """What a schema is to this program."""

    NEWEST = "it is the newest that this program knows"
    SERVED = "it is a newer program's, which this one works on too"
    OLDER = "it is older; this program or a newer one migrates it"
    FOREIGN = "there is none, or it is a newer program's, which this one does not work on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Of a database.

    Attributes:
        revision: None where no system has used it.
        serves: the oldest revision whose programs work on it; None where it does not say so.
    """

    revision: str | None
    serves: str | None = None

    @classmethod
    def said(cls, revision: str | None, comment: str | None) -> Schema:
        """By what `LOOK` found.

        >>> Schema.said("0021", "serves 0020").serves
        '0020'
        """
        serves = comment.removeprefix(SERVES) if comment and comment.startswith(SERVES) else None
        return cls(revision=revision, serves=serves)

    def standing(self, known: Collection[str], newest: Collection[str]) -> Standing:
        """To a program.

        Args:
            known: all revisions that it has.
            newest: those that nothing follows.
        """
        if self.revision in newest:
            return Standing.NEWEST
        if self.revision in known:
            return Standing.OLDER
        if self.revision is not None and self.serves in known:
            return Standing.SERVED
        return Standing.FOREIGN


async def look(place: PoolOrConnection) -> Schema:
    """The schema of a database as it is now."""
    try:
        row = await place.fetchrow(LOOK)
    except asyncpg.UndefinedTableError:
        return Schema(revision=None)
    return Schema.said(row["revision"], row["comment"])
