"""What a database lacks of the schema that it says it has."""

from __future__ import annotations

from typing import Final

import asyncpg

from backend.store import migrate, schema
from backend.store.database import PoolOrConnection
from backend.store.schema import Standing
from backend.store.tables import metadata

ABSENT: Final = (  # what no other try mends
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
)
LOST: Final = "what was lost comes back with `alphapulse restore` into an empty database"
MEND: Final = f"`alphapulse migrate` where its schema is older, else {LOST}"
_THERE: Final = """
SELECT c.relname AS table, array_agg(a.attname::text) AS columns
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE pg_table_is_visible(c.oid) AND c.relname = ANY($1::text[])
    AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY c.oid, c.relname
"""


async def lacking(place: PoolOrConnection) -> list[str]:
    """The tables and columns that are not there, in words.

    Nothing of a schema that is another than this program's: it may have others.
    """
    if migrate.standing(await schema.look(place)) is not Standing.NEWEST:
        return []
    rows = await place.fetch(_THERE, list(metadata.tables))
    there = {row["table"]: set(row["columns"]) for row in rows}
    found = [f"the table {name}" for name in metadata.tables if name not in there]
    found += [
        f"the column {column.name} of {name}"
        for name, table in metadata.tables.items()
        for column in table.columns
        if name in there and column.name not in there[name]
    ]
    return sorted(found)
