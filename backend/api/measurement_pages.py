"""Pages of measurements as they were known, and how far they reach."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from backend.api import cursors, rows, schemas
from backend.api.callers import Caller
from backend.api.parameters import MeasurementSelection
from backend.api.reads import Found, instrument_ids, series_scan
from backend.api.shelves import Filters, Shelf
from domain.market import from_ms
from domain.sources import MARKET

MEASUREMENTS: Final = Shelf(
    table="market_metrics",
    history="market_metrics",
    series=("instrument_id", "metric"),
    time="event_time",
    key=("instrument_id", "metric"),
    known="t.known_at",
    newest="t.known_at DESC",
    columns="i.exchange, i.symbol, s.metric, t.event_time, t.known_at, t.value",
    described=schemas.MeasurementRow,
    spell=lambda row, _at: rows.plain(row),
)
_MARKET: Final = "SELECT instrument_id FROM instruments WHERE (exchange, symbol) = ($1, $2)"
_REACH: Final = """
SELECT min(last) FROM wanted_series s CROSS JOIN LATERAL (
    SELECT event_time AS last FROM market_metrics t
    WHERE t.instrument_id = s.instrument_id AND t.metric = s.metric
      AND (${at}::timestamptz IS NULL OR known_at <= ${at})
    ORDER BY event_time DESC LIMIT 1
) newest
"""


async def read_measurements(
    connection: asyncpg.Connection, caller: Caller, selection: MeasurementSelection
) -> Found:
    """One page of measurements, each as it was last told by the time that is asked for.

    What is measured of the market and of no instrument is there unless instruments are named.

    Raises:
        UnknownExchangeError, UnknownSymbolError: a name that no instrument has.
    """
    ids = await instrument_ids(connection, caller, selection.exchange, selection.symbol)
    if not selection.exchange and not selection.symbol:
        market = await connection.fetchval(_MARKET, MARKET.exchange, MARKET.symbol)
        ids += [] if market is None else [market]
    wanted: Filters = {"instrument_id": ids}
    if selection.metric:
        wanted["metric"] = selection.metric
    made_for = cursors.fingerprint(MEASUREMENTS, selection, {})
    after = cursors.decode(selection.cursor, made_for, MEASUREMENTS) if selection.cursor else None
    place = (from_ms(after[0]), *after[1:]) if after else (None, None, None)
    scan, values = series_scan(MEASUREMENTS, wanted)
    first = len(values) + 1
    found = await connection.fetch(
        scan + _page(first, ascending=selection.ascending),
        *values, selection.start, selection.end, selection.as_of, *place, selection.limit + 1,
    )  # fmt: skip
    reach = _REACH.replace("{at}", str(first))
    watermark = await connection.fetchval(scan + reach, *values, selection.as_of)
    kept = found[: selection.limit]
    mark = None
    if len(found) > selection.limit:
        key = [kept[-1][name] for name in ("event_time", "instrument_id", "metric")]
        mark = cursors.encode(key, made_for)
    return Found([_spelled(row) for row in kept], mark, watermark)


def _spelled(row: rows.Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "instrument_id"}


def _page(first: int, *, ascending: bool) -> str:
    """Of each series as many as a page has, by the primary key; then the page among them.

    Args:
        first: number of the parameter `start`; `end`, `as_of`, the place and the limit follow.
        ascending: by time.
    """
    # No row comparison that begins with `event_time`: TimescaleDB, which skips from one to the
    # next here, would order its keys wrongly, and the server would refuse them.
    start, end, as_of, time, instrument, metric, limit = (f"${first + n}" for n in range(7))
    direction, beyond = ("ASC", ">") if ascending else ("DESC", "<")
    return f"""
    SELECT {MEASUREMENTS.columns}, s.instrument_id
    FROM wanted_series s
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (t.event_time) t.event_time, t.known_at, t.value
        FROM market_metrics t
        WHERE {MEASUREMENTS.same_series}
          AND ({start}::timestamptz IS NULL OR t.event_time >= {start})
          AND ({end}::timestamptz IS NULL OR t.event_time < {end})
          AND ({as_of}::timestamptz IS NULL OR t.known_at <= {as_of})
          AND ({time}::timestamptz IS NULL OR t.event_time {beyond}= {time}
               AND (t.event_time {beyond} {time} OR (s.instrument_id, s.metric) {beyond}
                   ({instrument}::int, {metric}::text COLLATE "C")))
        ORDER BY t.event_time {direction}, t.known_at DESC LIMIT {limit}
    ) t
    JOIN instruments i ON i.instrument_id = s.instrument_id
    ORDER BY t.event_time {direction}, s.instrument_id {direction}, s.metric {direction}
    LIMIT {limit}
    """  # noqa: S608 - names are ours, values are parameters
