"""Pages of jobs: a caller's own, and all of them for the operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from backend.api import cursors, rows
from backend.api.callers import Caller
from backend.api.parameters import JobSelection
from backend.api.schemas_jobs import JobRow
from backend.api.shelves import Shelf
from backend.store.jobs import COLUMNS, read_job
from backend.store.waiting import told_of, why_waiting
from domain.market import from_ms

JOBS: Final = Shelf(
    table="jobs",
    history="jobs",
    series=("kind",),
    time="created_at",
    key=("id",),
    known="t.created_at",
    newest="t.created_at DESC",
    columns=COLUMNS,
    described=JobRow,
    spell=lambda row, _at: spelled(row),
)


async def read_page(
    connection: asyncpg.Connection, caller: Caller, selection: JobSelection
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of the jobs that a caller sees, and the mark of the next; times are `created_at`."""
    made_for = cursors.fingerprint(JOBS, selection, {})
    after = cursors.decode(selection.cursor, made_for, JOBS) if selection.cursor else None
    place = (from_ms(after[0]), after[1]) if after else (None, None)
    found = await connection.fetch(
        _page(ascending=selection.ascending),
        None if caller.operates else caller.name, selection.kind or None, selection.state or None,
        selection.start, selection.end, *place, selection.limit + 1,
    )  # fmt: skip
    kept = found[: selection.limit]
    mark = None
    if len(found) > selection.limit:
        mark = cursors.encode([kept[-1]["created_at"], kept[-1]["id"]], made_for)
    return await _told(connection, kept), mark


async def read_own(
    connection: asyncpg.Connection, caller: Caller, name: str
) -> dict[str, Any] | None:
    """A job by its id; None where there is none that the caller sees."""
    row = await read_job(connection, name)
    if row is None or not (caller.operates or row["caller"] == caller.name):
        return None
    (told,) = await _told(connection, [row])
    return told


async def _told(connection: asyncpg.Connection, found: Sequence[rows.Row]) -> list[dict[str, Any]]:
    """Jobs as they are served, with who is missing of those that they wait for."""
    waits = await why_waiting(connection, [row["id"] for row in found if row["ended_at"] is None])
    return [spelled(row, waits.get(row["id"])) for row in found]


def spelled(row: rows.Row, waits: str | None = None) -> dict[str, Any]:
    """A row of jobs as it is served; `waits`: for whom that is not there."""
    told = {name: row[name] for name in COLUMNS.split(", ")}
    told["detail"] = told_of(told["detail"], waits)
    return rows.json_columns(told, "request", "progress", "result")


def _page(*, ascending: bool) -> str:
    direction, beyond = ("ASC", ">") if ascending else ("DESC", "<")
    # Cursors tell milliseconds.
    keys = ("date_trunc('milliseconds', created_at)", "id")
    return f"""
    SELECT {COLUMNS} FROM jobs
    WHERE ($1::text IS NULL OR caller = $1)
      AND ($2::text[] IS NULL OR kind = ANY($2))
      AND ($3::text[] IS NULL OR state = ANY($3))
      AND ($4::timestamptz IS NULL OR created_at >= $4)
      AND ($5::timestamptz IS NULL OR created_at < $5)
      AND ($6::timestamptz IS NULL OR ({", ".join(keys)}) {beyond} ($6, $7::text))
    ORDER BY {", ".join(f"{key} {direction}" for key in keys)} LIMIT $8
    """  # noqa: S608 - names are ours, values are parameters
