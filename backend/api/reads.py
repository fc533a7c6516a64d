"""Pages of a shelf: keyset paging over time windows, point in time, with coverage.

A page is read through the primary keys, one series after the other, from a window of
time that is widened until the page is full. No OFFSET: rows that are added meanwhile move
nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg

from backend.api import cursors
from backend.api.callers import Caller
from backend.api.parameters import PredictionQuery, Selection
from backend.api.shelves import Filters, Shelf
from backend.store.hypertables import SERIES
from domain.errors import UnknownExchangeError, UnknownSymbolError
from domain.market import EPOCH, Instrument, Timeframe, from_ms
from domain.sources import MARKET

Asked = Selection | PredictionQuery

WIDEN: Final = 8  # each further window reaches this many times as far


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The first and last time of one series; `place` holds the values of `Shelf.series`.

    The times of candles are those of their close.
    """

    place: tuple[Any, ...]
    instrument_id: int
    timeframe: str
    first: datetime
    last: datetime  # as it was known at the point in time that is asked for
    newest: datetime  # as it is now


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows as they are served, where the next page begins, and what is known of the whole."""

    data: list[dict[str, Any]]
    cursor: str | None
    spans: list[Span]
    wanted: Filters  # column → accepted values, all that were asked for
    window: tuple[datetime, datetime]  # what was read for it, beginning inclusive

    @property
    def watermark(self) -> datetime | None:
        """Every selected series reaches at least to here."""
        return min((span.last for span in self.spans), default=None)


class Found(NamedTuple):
    """A page of a list that is read in its own way."""

    data: list[dict[str, Any]]  # as they are served
    following: str | None  # where the next page begins
    watermark: datetime | None  # every selected series reaches at least to here


async def instrument_ids(
    connection: asyncpg.Connection,
    caller: Caller,
    exchanges: Sequence[str] = (),
    symbols: Sequence[str] = (),
) -> list[int]:
    """The instruments asked for; all that `caller` sees when neither list names any.

    Raises:
        UnknownExchangeError, UnknownSymbolError: a name that has no row which the caller sees,
            with the closest of those that have.
    """
    listed = await known_instruments(connection, caller)
    chosen, named = set(exchanges), set(symbols)
    known = {one.exchange for one in listed}
    if strange := chosen - known:
        raise UnknownExchangeError(min(strange), known)
    offered = [one for one in listed if not chosen or one.exchange in chosen]
    known = {one.symbol for one in offered}
    if strange := named - known:
        raise UnknownSymbolError(min(strange), known)
    return [listed[one] for one in offered if not named or one.symbol in named]


async def known_instruments(
    connection: asyncpg.Connection, caller: Caller
) -> dict[Instrument, int]:
    """Every instrument that was ever known and that `caller` sees, with its number."""
    every = await connection.fetch(
        "SELECT instrument_id, exchange, symbol FROM instruments WHERE exchange <> $1",
        MARKET.exchange,
    )
    named = {Instrument(row["exchange"], row["symbol"]): row["instrument_id"] for row in every}
    return {one: number for one, number in named.items() if caller.sees(one)}


async def read_page(
    connection: asyncpg.Connection,
    ids: Sequence[int],
    shelf: Shelf,
    selection: Asked,
    filters: Filters,
) -> Page:
    """One page of `shelf`.

    Args:
        connection: inside one read-only transaction.
        ids: of instruments that the caller sees.
        shelf: what to list.
        selection: the request, checked.
        filters: column → accepted values, beside the instruments and timeframes.
    """
    wanted: Filters = {"instrument_id": list(ids), **filters}
    if selection.timeframe:
        wanted["timeframe"] = selection.timeframe
    spans = await read_spans(connection, shelf, wanted, selection.as_of)
    for position, name in enumerate(shelf.series):  # so that the primary key is read by ranges
        wanted.setdefault(name, sorted({span.place[position] for span in spans}))
    fingerprint = cursors.fingerprint(shelf, selection, filters)
    after = cursors.decode(selection.cursor, fingerprint, shelf) if selection.cursor else None
    found, window = await _windows(connection, shelf, selection, wanted, spans, after)
    more = len(found) > selection.limit
    kept = found[: selection.limit]
    key = [kept[-1][f"k{n}"] for n in range(len(shelf.key) + 1)] if more else None
    return Page(
        # In a thread: thousands of rows take longer than a tick or a heartbeat may wait.
        data=await asyncio.to_thread(_spelled, shelf, kept, selection.as_of),
        cursor=cursors.encode(key, fingerprint) if key else None,
        spans=spans,
        wanted=wanted,
        window=window,
    )


async def last_change(connection: asyncpg.Connection, shelf: Shelf, page: Page) -> datetime | None:
    """When a version of a row that `page` was chosen from last told something new."""
    chosen = [name for name in page.wanted if name in shelf.key]
    conditions = [f"t.{shelf.time} >= $1", f"t.{shelf.time} < $2"]
    conditions += [f"t.{name} = ANY(${n})" for n, name in enumerate(chosen, 3)]
    versions = " UNION ALL ".join(
        f"SELECT max({shelf.changed or shelf.known}) AS at FROM {table} t"  # noqa: S608 - names are ours
        f" WHERE {' AND '.join(conditions)}"
        for table in shelf.versions or (shelf.table,)
    )
    found: datetime | None = await connection.fetchval(
        f"SELECT max(at) FROM ({versions}) versions",  # noqa: S608 - as above
        *page.window,
        *(page.wanted[name] for name in chosen),
    )
    return found


async def read_spans(
    connection: asyncpg.Connection, shelf: Shelf, wanted: Filters, as_of: datetime | None = None
) -> list[Span]:
    """First and last time of each series that is wanted, and was there at `as_of`."""
    scan, values = series_scan(shelf, wanted)
    edge = f"SELECT {shelf.closes} FROM {shelf.table} t WHERE {shelf.same_series}"  # noqa: S608 - names are ours
    known = edge
    if as_of is not None:
        values.append(as_of)
        at = f"${len(values)}"
        known += f" AND t.{shelf.time} <= {at} AND {shelf.closes} <= {at} AND {shelf.known_by(at)}"
    found = await connection.fetch(
        f"""
        {scan}
        SELECT * FROM (
            SELECT s.*, ({known} ORDER BY t.{shelf.time} LIMIT 1) AS first,
                   ({known} ORDER BY t.{shelf.time} DESC LIMIT 1) AS last,
                   ({edge} ORDER BY t.{shelf.time} DESC LIMIT 1) AS newest
            FROM wanted_series s
        ) spans WHERE first IS NOT NULL
        """,  # noqa: S608 - names are ours, values are parameters
        *values,
    )
    return [
        Span(
            place=tuple(row[name] for name in shelf.series),
            instrument_id=row["instrument_id"],
            timeframe=row["timeframe"],
            first=row["first"],
            last=row["last"],
            newest=row["newest"],
        )
        for row in found
    ]


def series_scan(shelf: Shelf, wanted: Filters) -> tuple[str, list[Any]]:
    """SQL that names the wanted series `wanted_series`, by a view or steps over the primary key."""
    columns = ", ".join(shelf.series)
    qualified = ", ".join(f"t.{name}" for name in shelf.series)
    places = ", ".join(f"every.{name}" for name in shelf.series)
    names = [name for name in shelf.series if name in wanted]
    chosen = " AND ".join(f"{name} = ANY(${n})" for n, name in enumerate(names, 1)) or "true"
    every = f"""
            (SELECT {columns} FROM {shelf.table} ORDER BY {columns} LIMIT 1)
            UNION ALL
            SELECT following.* FROM every, LATERAL (
                SELECT {qualified} FROM {shelf.table} t
                WHERE ({qualified}) > ({places}) ORDER BY {qualified} LIMIT 1
            ) following
        """  # noqa: S608 - names are ours
    if SERIES.get(shelf.table) == shelf.series:
        every = f"SELECT {columns} FROM {shelf.table}_series"  # noqa: S608 - the same
    statement = f"""
        WITH RECURSIVE every AS ({every}),
            wanted_series AS (SELECT * FROM every WHERE {chosen})
        """  # noqa: S608 - names are ours, values are parameters
    return statement, [wanted[name] for name in names]


async def _windows(
    connection: asyncpg.Connection,
    shelf: Shelf,
    selection: Asked,
    wanted: Filters,
    spans: list[Span],
    after: list[Any] | None,
) -> tuple[list[asyncpg.Record], tuple[datetime, datetime]]:
    if not spans:
        return [], (EPOCH, EPOCH)
    step = min(Timeframe(span.timeframe).duration for span in spans)
    # A candle's time is that of its opening.
    opened = min(span.first - Timeframe(span.timeframe).duration for span in spans)
    low = max(selection.start or EPOCH, opened)
    # Nothing is known of a time that has not come: as_of bounds the rows as `end` does.
    bounds = [max(span.last for span in spans) + step, selection.end]
    bounds.append(selection.as_of + step if selection.as_of else None)
    high = min(bound for bound in bounds if bound)
    if after:
        place = from_ms(after[0])
        low, high = (place, high) if selection.ascending else (low, min(high, place + step))
    width = step * (math.ceil((selection.limit + 1) / len(spans)) + 2)
    while True:
        near, far = (low, low + width) if selection.ascending else (high - width, high)
        near, far = max(near, low), min(far, high)
        found = await _read(connection, shelf, selection, wanted, (near, far), after)
        if len(found) > selection.limit or (near <= low and far >= high):
            return found, (near, far)
        width *= WIDEN


async def _read(
    connection: asyncpg.Connection,
    shelf: Shelf,
    selection: Asked,
    wanted: Filters,
    window: tuple[datetime, datetime],
    after: list[Any] | None,
) -> list[asyncpg.Record]:
    source = shelf.table if selection.as_of is None else shelf.history
    keys = [f"t.{name}" for name in (shelf.time, *shelf.key)]
    direction = "ASC" if selection.ascending else "DESC"
    values: list[Any] = [*window]
    conditions = [f"t.{shelf.time} >= $1", f"t.{shelf.time} < $2"]
    afterwards = []  # what may differ between revisions is asked of the newest one
    for name, accepted in wanted.items():
        values.append(accepted)
        if name in shelf.key:
            conditions.append(f"t.{name} = ANY(${len(values)})")
        else:
            afterwards.append(f"newest.{name} = ANY(${len(values)})")
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
    marks = ", ".join(f"k{n} {direction}" for n in range(len(keys)))
    statement = f"""
        SELECT * FROM (
            SELECT DISTINCT ON ({", ".join(keys)}) {shelf.columns}, {marked}
            FROM {source} t JOIN instruments i USING (instrument_id) {shelf.joins}
            WHERE {" AND ".join(conditions)}
            ORDER BY {ordered}, {newest}
        ) newest
        WHERE {" AND ".join(afterwards) or "true"}
        ORDER BY {marks} LIMIT {selection.limit + 1}
        """  # noqa: S608 - names are ours, values are parameters
    rows: list[asyncpg.Record] = await connection.fetch(statement, *values)
    return rows


def _spelled(
    shelf: Shelf, found: list[asyncpg.Record], as_of: datetime | None
) -> list[dict[str, Any]]:
    return [shelf.spell(_public(row), as_of) for row in found]


def _public(row: asyncpg.Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not _is_mark(name)}


def _is_mark(name: str) -> bool:
    return name[0] == "k" and name[1:].isdigit()
