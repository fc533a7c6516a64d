"""What is watched, and was, with the candles that there are of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import asyncpg

from backend.api.callers import Caller
from backend.api.parameters import WatchSelection
from backend.api.reads import Span, instrument_ids, read_spans
from backend.api.shelves import CANDLES, Filters
from backend.api.state import ApiState
from domain.market import Instrument, Timeframe

_EVER: Final = """
    SELECT instrument_id, exchange, symbol, kind, base, quote, tick_size, lot_size, min_notional,
           watched_from, watched_until
    FROM instruments WHERE watched_from IS NOT NULL AND instrument_id = ANY($1)
    ORDER BY exchange, symbol
    """


@dataclass(frozen=True, slots=True)
class Series:
    """The candles of one instrument and timeframe, from an open time to a close."""

    timeframe: Timeframe
    begin: datetime | None
    to: datetime | None

    def row(self) -> dict[str, Any]:
        return {"timeframe": self.timeframe.value, "from": self.begin, "to": self.to}


@dataclass(frozen=True, slots=True)
class Watched:
    """An instrument that is or was watched: its columns and its series, the shortest first."""

    columns: dict[str, Any]
    state: str
    series: list[Series]

    def row(self) -> dict[str, Any]:
        series = [one.row() for one in self.series]
        return {**self.columns, "state": self.state, "timeframes": series}


def standing(state: ApiState, instrument: Instrument, until: datetime | None) -> str:
    """`joining` (its history is on its way), `watched` or `left`.

    Args:
        state: of the system.
        instrument: one that is or was watched.
        until: when it was watched last, by the record.
    """
    if instrument in state.status.instruments:
        return "watched"
    followed = {one.exchange for one in state.status.instruments}
    return "joining" if until is None and instrument.exchange in followed else "left"


async def read_watched(
    connection: asyncpg.Connection, state: ApiState, caller: Caller, selection: WatchSelection
) -> list[Watched]:
    """Every instrument that is asked for, was ever watched, and has the timeframes asked for.

    Raises:
        UnknownExchangeError, UnknownSymbolError: a name that `caller` sees nothing of.
    """
    ids = await instrument_ids(connection, caller, selection.exchange, selection.wanted_symbols)
    wanted: Filters = {"instrument_id": ids}
    if selection.timeframe:
        wanted["timeframe"] = selection.timeframe
    spans = await read_spans(connection, CANDLES, wanted)
    of_instrument: dict[int, list[Span]] = {}
    for span in spans:
        of_instrument.setdefault(span.instrument_id, []).append(span)
    found = []
    for row in await connection.fetch(_EVER, ids):
        columns = dict(row)
        number = columns.pop("instrument_id")
        stands = standing(state, Instrument(row["exchange"], row["symbol"]), row["watched_until"])
        expected = [] if stands == "left" else state.status.timeframes
        series = _series(of_instrument.get(number, []), expected, selection.timeframe)
        if series or not selection.timeframe:
            found.append(Watched(columns, stands, series))
    return found


def _series(
    spans: Iterable[Span], expected: Iterable[Timeframe], asked: Sequence[str]
) -> list[Series]:
    """Those that have candles, and those that are expected to."""
    stored = {Timeframe(span.timeframe): span for span in spans}
    every = {one for one in stored.keys() | set(expected) if not asked or one.value in asked}
    return [
        Series(one, stored[one].first - one.duration, stored[one].last)
        if one in stored
        else Series(one, None, None)
        for one in sorted(every, key=lambda timeframe: timeframe.ms)
    ]


def reach(found: Iterable[Watched]) -> datetime | None:
    """The close that every series that is followed has reached; None where one has no candle."""
    ends = [each.to for one in found if one.state != "left" for each in one.series]
    known = [end for end in ends if end is not None]
    return min(known) if known and len(known) == len(ends) else None


def exchanges(state: ApiState, caller: Caller, found: Sequence[Watched]) -> list[dict[str, Any]]:
    """What is watched, by exchange; `found` is in their order."""
    away = state.status.away() if caller.sees_all else {}  # the reason may name any instrument
    rows = []
    for name, group in groupby(found, lambda one: one.columns["exchange"]):
        members = list(group)
        ends = [one.columns["watched_until"] for one in members]
        every = {series.timeframe for one in members for series in one.series}
        rows.append(
            {
                "exchange": name,
                "kinds": sorted({one.columns["kind"] for one in members}),
                "instruments": sum(one.state == "watched" for one in members),
                "timeframes": [one.value for one in sorted(every, key=lambda each: each.ms)],
                "watched_from": min(one.columns["watched_from"] for one in members),
                "watched_until": None if None in ends else max(ends),
                "away": away.get(name),
            }
        )
    return rows


def timeframes(state: ApiState, found: Sequence[Watched]) -> list[dict[str, Any]]:
    """What is watched, by timeframe, the shortest first."""
    rows = []
    for timeframe in Timeframe:
        having = [
            (one.columns["exchange"], series)
            for one in found
            for series in one.series
            if series.timeframe is timeframe
        ]
        if not having:
            continue
        is_watched = timeframe in state.status.timeframes
        begins = [series.begin for _, series in having if series.begin is not None]
        ends = [series.to for _, series in having if series.to is not None]
        rows.append(
            {
                "timeframe": timeframe.value,
                "seconds": timeframe.ms // 1_000,
                "watched": is_watched,
                "horizons": list(state.status.horizons) if is_watched else [],
                "exchanges": sorted({exchange for exchange, _ in having}),
                "instruments": len(begins),
                "from": min(begins, default=None),
                "to": max(ends, default=None),
            }
        )
    return rows
