"""Pages of the gap ledger: which candles are missing, or were, as it was known at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import asyncpg

from backend.api import cursors, rows, schemas
from backend.api.callers import Caller
from backend.api.coverage import known_gaps
from backend.api.parameters import GapSelection
from backend.api.reads import Found, instrument_ids, read_spans
from backend.api.shelves import CANDLES, Filters, Shelf
from domain.market import from_ms, to_ms

GAPS: Final = Shelf(
    table="ingest_gaps",
    history="ingest_gaps",
    series=("instrument_id", "timeframe"),
    time="from_time",
    key=("instrument_id", "timeframe", "detected"),
    known="t.detected_at",
    newest="t.detected_at DESC",
    columns='exchange, symbol, timeframe, from_time AS "from", until AS "to", cause, state,'
    " detected_at, filled_at, attempts",
    described=schemas.GapRow,
    spell=lambda row, _at: rows.plain(row),
)


async def read_gaps(
    connection: asyncpg.Connection, caller: Caller, selection: GapSelection
) -> Found:
    """One page of gaps; newest first unless `order` says otherwise.

    With `as_of` a gap that was filled later is open, and it reaches as far as candles had
    closed by then.
    """
    filters: Filters = {"state": selection.state}
    made_for = cursors.fingerprint(GAPS, selection, filters)
    after = cursors.decode(selection.cursor, made_for, GAPS) if selection.cursor else None
    ids = await instrument_ids(connection, caller, selection.exchange, selection.wanted_symbols)
    place = _place(after) if after else (None, None, None, None)
    found = await connection.fetch(
        _page(ascending=selection.order == "asc"),
        ids, selection.timeframe or None, selection.start, selection.end, selection.as_of,
        selection.state or None, *place, selection.limit + 1,
    )  # fmt: skip
    kept = found[: selection.limit]
    following = None
    if len(found) > selection.limit:
        last = kept[-1]
        mark = (last["instrument_id"], last["timeframe"], to_ms(last["detected_at"]))
        following = cursors.encode([last["from"], *mark], made_for)
    hidden = "instrument_id"
    data = [{name: one for name, one in row.items() if name != hidden} for row in kept]
    wanted: Filters = {"instrument_id": ids}
    if selection.timeframe:
        wanted["timeframe"] = selection.timeframe
    spans = await read_spans(connection, CANDLES, wanted, selection.as_of)
    return Found(data, following, min((span.last for span in spans), default=None))


async def missing_now(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    """Every gap that is not filled, oldest first: what subscribers of the stream begin with."""
    selection = (None, None, None, None, None, ["open", "repairing", "unfillable"])
    found = await connection.fetch(_page(ascending=True), *selection, *[None] * 4, None)
    return [{name: one for name, one in row.items() if name != "instrument_id"} for row in found]


def _place(after: list[Any]) -> tuple[datetime, int, str, datetime]:
    start, number, timeframe, detected = after
    return from_ms(start), number, timeframe, from_ms(detected)


def _page(*, ascending: bool) -> str:
    direction, beyond = ("ASC", ">") if ascending else ("DESC", "<")
    keys = ("from_time", "instrument_id", "timeframe", "detected_at")
    return f"""
    SELECT instrument_id, {GAPS.columns} FROM {known_gaps("$5")} known
    WHERE until > from_time
      AND ($1::int[] IS NULL OR instrument_id = ANY($1))
      AND ($2::text[] IS NULL OR timeframe = ANY($2))
      AND ($3::timestamptz IS NULL OR until > $3) AND ($4::timestamptz IS NULL OR from_time < $4)
      AND ($6::text[] IS NULL OR state = ANY($6))
      AND ($7::timestamptz IS NULL OR ({", ".join(keys)}) {beyond} ($7, $8::int, $9::text, $10))
    ORDER BY {", ".join(f"{key} {direction}" for key in keys)} LIMIT $11
    """  # noqa: S608 - names are ours, values are parameters
