"""Pages of notifications: what channels are told, and what became of it."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import orjson

from backend.api import cursors, rows
from backend.api.parameters import NotificationSelection
from backend.api.problems import ProblemError
from backend.api.schemas_notifications import NotificationRow
from backend.api.shelves import Shelf

LAST: Final = 1 << 63
NOTIFICATIONS: Final = Shelf(
    table="notifications",
    history="notifications",
    series=("channel",),
    time="created_at",
    key=("number",),
    known="t.created_at",
    newest="t.created_at DESC",
    columns="id, channel, event, subject, at, state, attempts, created_at,"
    " CASE WHEN state = 'pending' THEN next_attempt_at END AS next_attempt_at, sent_at, error,"
    " body",
    described=NotificationRow,
    spell=lambda row, _at: _spelled(row),
)


async def read_notifications(
    connection: asyncpg.Connection, selection: NotificationSelection
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of them and the mark of the next."""
    made_for = cursors.fingerprint(NOTIFICATIONS, selection, {})
    after = cursors.decode(selection.cursor, made_for, NOTIFICATIONS) if selection.cursor else None
    found = await connection.fetch(
        _page(ascending=selection.ascending),
        selection.channel or None, selection.event or None, selection.state or None,
        selection.start, selection.end, _number(after) if after else None, selection.limit + 1,
    )  # fmt: skip
    kept = found[: selection.limit]
    more = len(found) > selection.limit
    mark = [kept[-1]["created_at"], kept[-1]["number"]] if more else None
    data = [NOTIFICATIONS.spell(row, None) for row in kept]
    return data, cursors.encode(mark, made_for) if mark else None


def _spelled(row: rows.Row) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name != "number"}
    return {**shown, "body": orjson.Fragment(row["body"])}


def _number(after: list[Any]) -> int:
    """Of the last notification of the page before; they are entered in this order."""
    number: int = after[1]
    if number >= LAST:
        raise ProblemError("bad_cursor", "cursor is none that this server gave out")
    return number


def _page(*, ascending: bool) -> str:
    direction, beyond = ("ASC", ">") if ascending else ("DESC", "<")
    return f"""
    SELECT number, {NOTIFICATIONS.columns} FROM notifications
    WHERE ($1::text[] IS NULL OR channel = ANY($1)) AND ($2::text[] IS NULL OR event = ANY($2))
      AND ($3::text[] IS NULL OR state = ANY($3))
      AND ($4::timestamptz IS NULL OR created_at >= $4)
      AND ($5::timestamptz IS NULL OR created_at < $5)
      AND ($6::bigint IS NULL OR number {beyond} $6) ORDER BY number {direction} LIMIT $7
    """  # noqa: S608 - names are ours, values are parameters
