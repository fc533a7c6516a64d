"""How rows enter a table: by one COPY when they are new, through a staging table when not.

New rows are the rule on the live path, so `append` copies straight into the table and
fails as a whole on a key that exists. `merge` compares with what is stored; what it finds
equal it leaves alone, so that a repetition changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import numpy as np

from backend.store.copy import Rows, joined, message
from backend.store.database import quoted
from backend.store.quarantine import set_aside
from domain.events import Bools

_FEW: Final = 50  # rows; more are counted for the planner, who else pairs each with each

# Moments of the writing, and what follows from them: they differ between two honest runs.
_MOMENTS: Final = frozenset({"known_at", "made_at", "scored_at", "origin", "degraded"})


async def append(connection: asyncpg.Connection, batches: Sequence[Rows]) -> None:
    """Copy new rows, all of one table and with the same columns.

    Raises:
        asyncpg.UniqueViolationError: a key exists already; the transaction is void.
    """
    first = batches[0]
    await connection.copy_to_table(
        first.table.name,
        source=message([joined(batches).encode()]),
        columns=list(first.columns),
        format="binary",
    )


async def stage(connection: asyncpg.Connection, rows: Rows) -> str:
    """Copy rows into the connection's staging table of their table; its name.

    It has the columns of `rows` and `position`, and is empty again after the transaction.
    """
    table = f"staged_{rows.table.name}"
    # With defaults: a newer program may have added a column that this one leaves to them.
    likeness = f"position int, LIKE {rows.table.name} INCLUDING DEFAULTS"
    await connection.execute(
        f"CREATE TEMP TABLE IF NOT EXISTS {table} ({likeness})"  # noqa: S608 - names of ours
        f" ON COMMIT DELETE ROWS; DELETE FROM {table}"
    )
    await connection.copy_to_table(
        table,
        source=message([rows.encode(numbered=True)]),
        columns=["position", *rows.columns],
        format="binary",
    )
    if rows.count > _FEW:
        await connection.execute(f"ANALYZE {table} (position)")
    return table


async def merge(
    connection: asyncpg.Connection, rows: Rows, *, answers: Sequence[str], guard: str = "true"
) -> Bools:
    """Insert rows, and update `answers` of those whose key exists.

    Args:
        connection: within a transaction.
        rows: with distinct keys.
        answers: the columns that may change.
        guard: a condition over `kept` and `EXCLUDED` for a change.

    Returns:
        Which rows were inserted or changed something, shape (n,).
    """
    changes = ", ".join(f"{quoted(name)} = EXCLUDED.{quoted(name)}" for name in answers)
    kept = ", ".join(f"kept.{quoted(name)}" for name in answers)
    new = ", ".join(f"EXCLUDED.{quoted(name)}" for name in answers)
    return await _insert(
        connection,
        rows,
        f"UPDATE SET {changes} WHERE ({kept}) IS DISTINCT FROM ({new}) AND ({guard})",
    )


async def keep_first(
    connection: asyncpg.Connection, rows: Rows, *, answers: Sequence[str], received_at: datetime
) -> Bools:
    """Insert rows whose key is new; what was said under a key stays as it was said.

    A row that contradicts the stored one, `answers` and moments of writing aside, goes to
    quarantine.

    Returns:
        Which rows were inserted, shape (n,).
    """
    inserted = await _insert(connection, rows, "NOTHING")
    aside = {*_MOMENTS, *answers, *_key(rows)}
    content = [name for name in rows.columns if name not in aside]
    if not content:
        return inserted
    stored = ", ".join(f"stored.{quoted(name)}" for name in content)
    staged = ", ".join(f"staged.{quoted(name)}" for name in content)
    found = await connection.fetch(
        f"SELECT staged.position FROM staged_{rows.table.name} AS staged"  # noqa: S608 - names of ours
        f" JOIN {rows.table.name} AS stored USING ({_names(_key(rows))})"
        f" WHERE ({stored}) IS DISTINCT FROM ({staged})"
    )
    if found:
        contradicting = rows.take(np.array([row["position"] for row in found], dtype=np.int64))
        await set_aside(
            connection,
            contradicting,
            reason="contradicts",
            detail="another row is stored under this key",
            received_at=received_at,
        )
    return inserted


async def _insert(connection: asyncpg.Connection, rows: Rows, on_conflict: str) -> Bools:
    table = await stage(connection, rows)
    columns, key = _names(rows.columns), _names(_key(rows))
    changed = await connection.fetch(
        f"WITH written AS ("  # noqa: S608 - names of ours
        f" INSERT INTO {rows.table.name} AS kept ({columns}) SELECT {columns} FROM {table}"
        f" ORDER BY position ON CONFLICT ({key}) DO {on_conflict} RETURNING {key})"
        f" SELECT position FROM {table} JOIN written USING ({key})"
    )
    mask = np.zeros(rows.count, dtype=np.bool_)
    mask[[row["position"] for row in changed]] = True
    return mask


def _key(rows: Rows) -> list[str]:
    return [column.name for column in rows.table.primary_key.columns]


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))
