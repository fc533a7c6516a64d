"""Pages of a shelf: keyset paging over time windows, point in time, with coverage.

A page is read through the primary keys, one series after the other, from a window of
time that is widened until the page is full. No OFFSET: rows that are added meanwhile move
nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import orjson

from backend.api.parameters import Selection
from backend.api.problems import ProblemError
from backend.api.shelves import Shelf
from domain.errors import UnknownExchangeError, UnknownSymbolError
from domain.market import EPOCH, Timeframe, from_ms, to_ms

WIDEN: Final = 8  # each further window reaches this many times as far
Filters = dict[str, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The first and last time of one series."""

    instrument_id: int
    timeframe: str
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows as they are served, where the next page begins, and what is known of the whole."""

    data: list[dict[str, Any]]
    cursor: str | None
    watermark: datetime | None  # every selected series reaches at least to here
    spans: list[Span]


async def instrument_ids(
    connection: asyncpg.Connection, exchanges: Sequence[str], symbols: Sequence[str]
) -> list[int]:
    """The instruments asked for; all when neither list names any.

    Raises:
        UnknownExchangeError, UnknownSymbolError: a name that has no row, with the closest.
    """
    listed = await connection.fetch("SELECT instrument_id, exchange, symbol FROM instruments")
    for exchange in exchanges:
        if exchange not in (known := {row["exchange"] for row in listed}):
            raise UnknownExchangeError(exchange, known)
    offered = [row for row in listed if not exchanges or row["exchange"] in exchanges]
    for symbol in symbols:
        if symbol not in (known := {row["symbol"] for row in offered}):
            raise UnknownSymbolError(symbol, known)
    return [row["instrument_id"] for row in offered if not symbols or row["symbol"] in symbols]


async def read_page(
    connection: asyncpg.Connection, shelf: Shelf, selection: Selection, filters: Filters
) -> Page:
    """One page of `shelf`.

    Args:
        connection: inside one read-only transaction.
        shelf: what to list.
        selection: the request, checked.
        filters: column → accepted values, beside the instruments and timeframes.
    """
    ids = await instrument_ids(connection, selection.exchange, selection.wanted_symbols)
    wanted: Filters = {"instrument_id": ids, **filters}
    if selection.timeframe:
        wanted["timeframe"] = selection.timeframe
    spans = await read_spans(connection, shelf, wanted)
    fingerprint = _fingerprint(shelf, selection, filters)
    after = _decode(selection.cursor, fingerprint) if selection.cursor else None
    found = await _windows(connection, shelf, selection, wanted, spans, after)
    more = len(found) > selection.limit
    kept = found[: selection.limit]
    key = [kept[-1][f"k{n}"] for n in range(len(shelf.key) + 1)] if more else None
    return Page(
        data=[shelf.spell(_public(row), selection.as_of) for row in kept],
        cursor=_encode(key, fingerprint) if key else None,
        watermark=min((span.last for span in spans), default=None),
        spans=spans,
    )


async def read_spans(
    connection: asyncpg.Connection, shelf: Shelf, wanted: Filters
) -> list[Span]:
    """First and last time of each series, by a skip scan over the primary key."""
    columns = ", ".join(shelf.series)
    qualified = ", ".join(f"t.{name}" for name in shelf.series)
    places = ", ".join(f"s.{name}" for name in shelf.series)
    same = " AND ".join(f"t.{name} = s.{name}" for name in shelf.series)
    names = [name for name in shelf.series if wanted.get(name)]
    chosen = " AND ".join(f"s.{name} = ANY(${n})" for n, name in enumerate(names, 1))
    edge = f"SELECT t.{shelf.time} FROM {shelf.table} t WHERE {same} ORDER BY t.{shelf.time}"  # noqa: S608 - names are ours
    found = await connection.fetch(
        f"""
        WITH RECURSIVE s AS (
            (SELECT {columns} FROM {shelf.table} ORDER BY {columns} LIMIT 1)
            UNION ALL
            SELECT n.* FROM s, LATERAL (
                SELECT {qualified} FROM {shelf.table} t
                WHERE ({qualified}) > ({places}) ORDER BY {qualified} LIMIT 1
            ) n
        )
        SELECT s.instrument_id, s.timeframe, ({edge} LIMIT 1) AS first, ({edge} DESC LIMIT 1) AS last
        FROM s WHERE {chosen}
        """,  # noqa: S608 - names are ours, values are parameters
        *(wanted[name] for name in names),
    )
    return [Span(**row) for row in found]


async def _windows(
    connection: asyncpg.Connection,
    shelf: Shelf,
    selection: Selection,
    wanted: Filters,
    spans: list[Span],
    after: list[Any] | None,
) -> list[asyncpg.Record]:
    if not spans:
        return []
    step = min(Timeframe(span.timeframe).duration for span in spans)
    low = max(selection.start or EPOCH, min(span.first for span in spans))
    high = min(
        selection.end or max(span.last for span in spans) + step,
        max(span.last for span in spans) + step,
    )
    if after:
        place = from_ms(after[0])
        low, high = (place, high) if selection.ascending else (low, min(high, place + step))
    width = step * (math.ceil((selection.limit + 1) / len(spans)) + 2)
    while True:
        near, far = (low, low + width) if selection.ascending else (high - width, high)
        near, far = max(near, low), min(far, high)
        found = await _read(connection, shelf, selection, wanted, (near, far), after)
        if len(found) > selection.limit or (near <= low and far >= high):
            return found
        width *= WIDEN


async def _read(  # noqa: PLR0913 - the six parts of one statement
    connection: asyncpg.Connection,
    shelf: Shelf,
    selection: Selection,
    wanted: Filters,
    window: tuple[datetime, datetime],
    after: list[Any] | None,
) -> list[asyncpg.Record]:
    source = shelf.table if selection.as_of is None else shelf.history
    keys = [f"t.{name}" for name in (shelf.time, *shelf.key)]
    direction = "ASC" if selection.ascending else "DESC"
    values: list[Any] = [*window]
    conditions = [f"t.{shelf.time} >= $1", f"t.{shelf.time} < $2"]
    for name, accepted in wanted.items():
        values.append(accepted)
        conditions.append(f"t.{name} = ANY(${len(values)})")
    if selection.as_of is not None:
        values.append(selection.as_of)
        conditions.append(f"{shelf.known} <= ${len(values)}")
    if after:
        values.extend([from_ms(after[0]), *after[1:]])
        places = ", ".join(f"${len(values) - len(after) + n + 1}" for n in range(len(after)))
        beyond = ">" if selection.ascending else "<"
        conditions.append(f"({', '.join(keys)}) {beyond} ({places})")
    ordered = ", ".join(f"{key} {direction}" for key in keys)
    newest = "t.revision DESC" if source == shelf.table else shelf.newest
    marked = ", ".join(f"{key} AS k{n}" for n, key in enumerate(keys))
    statement = f"""
        SELECT DISTINCT ON ({", ".join(keys)}) {shelf.columns}, {marked}
        FROM {source} t JOIN instruments i USING (instrument_id) {shelf.joins}
        WHERE {" AND ".join(conditions)}
        ORDER BY {ordered}, {newest}
        LIMIT {selection.limit + 1}
        """  # noqa: S608 - names are ours, values are parameters
    rows: list[asyncpg.Record] = await connection.fetch(statement, *values)
    return rows


def _public(row: asyncpg.Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not _is_mark(name)}


def _is_mark(name: str) -> bool:
    return name[0] == "k" and name[1:].isdigit()


def _fingerprint(shelf: Shelf, selection: Selection, filters: Filters) -> str:
    asked = selection.model_dump(mode="json", exclude={"cursor", "limit"})
    text = orjson.dumps([shelf.table, asked, filters], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]


def _encode(key: list[Any], fingerprint: str) -> str:
    text = orjson.dumps([fingerprint, to_ms(key[0]), *key[1:]])
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _decode(cursor: str, fingerprint: str) -> list[Any]:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        made_for, *key = orjson.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, TypeError, binascii.Error):
        raise ProblemError("bad_cursor", "cursor is none that this server gave out") from None
    if made_for != fingerprint:
        raise ProblemError("bad_cursor", "cursor belongs to a request with other parameters")
    return list(key)


async def coverage(
    connection: asyncpg.Connection, spans: Sequence[Span], start: datetime, end: datetime
) -> dict[str, Any]:
    """How many candles that closed in [start, end] there should be, are, and which are missing."""
    series = sorted({(span.instrument_id, span.timeframe) for span in spans})
    expected = sum(_closes(Timeframe(timeframe), start, end) for _, timeframe in series)
    ids = [instrument_id for instrument_id, _ in series]
    timeframes = [timeframe for _, timeframe in series]
    present = await connection.fetchval(
        """
        SELECT count(*) FROM unnest($1::int[], $2::text[]) AS s (instrument_id, timeframe)
        JOIN candles t USING (instrument_id, timeframe)
        WHERE t.open_time >= $3::timestamptz - $5::interval
          AND t.close_time >= $3 AND t.close_time <= $4 AND t.open_time < $4
        """,
        ids, timeframes, start, end, timedelta(days=1),
    )  # fmt: skip
    gaps = await connection.fetch(
        """
        SELECT i.exchange, i.symbol, g.timeframe, g.from_time AS "from", g.to_time AS "to",
               g.cause, g.state
        FROM unnest($1::int[], $2::text[]) AS s (instrument_id, timeframe)
        JOIN ingest_gaps g USING (instrument_id, timeframe)
        JOIN instruments i USING (instrument_id)
        WHERE g.state <> 'filled' AND g.from_time < $4 AND g.to_time > $3
        ORDER BY g.from_time, i.exchange, i.symbol, g.timeframe LIMIT 100
        """,
        ids, timeframes, start, end,
    )  # fmt: skip
    return {"expected": expected, "present": present, "gaps": [dict(gap) for gap in gaps]}


def _closes(timeframe: Timeframe, start: datetime, end: datetime) -> int:
    return to_ms(end) // timeframe.ms - -(-to_ms(start) // timeframe.ms) + 1
