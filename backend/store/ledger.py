"""The paper account follows from the record: its signals and candles, folded into marks.

A mark of each close is kept in `ledger_marks`, and with the last of them the ledger's state, so
that folding goes on from there. The same record and terms give the same marks, whether they are
made as closes come or all at once, unless a signal's end was told after its close was folded; on
other terms the account is reckoned anew from the first decision. A close is folded once its tick is
answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import orjson

from backend import damaged
from backend.store import snapshots
from backend.store.ledger_events import Event, Stretch, events
from backend.store.snapshots import Snapshot
from domain.account import AccountMark, FundingBatch, Terms
from domain.codec import pack, unpack
from domain.events import CandleBatch
from domain.market import Instrument, Listing, Timeframe
from services.ledger.ledger import Ledger

ROOM: Final = "ledger"  # of its snapshots
TermsOf = Callable[[str], Terms]  # by exchange

_COLUMNS: Final = tuple(field.name for field in fields(AccountMark))
_JSON: Final = ("refused", "positions")
_WRITE: Final = f"""
INSERT INTO ledger_marks ({", ".join(_COLUMNS)})
VALUES ({", ".join(f"${n}" for n in range(1, len(_COLUMNS) + 1))})
ON CONFLICT (exchange, timeframe, at) DO NOTHING
"""  # noqa: S608 - names of ours
_BEGIN_ANEW: Final = (
    "DELETE FROM ledger_marks WHERE exchange = $1 AND timeframe = $2",
    "DELETE FROM state_snapshots WHERE exchange = $1 AND timeframe = $2 AND room = 'ledger'",
)
_PANELS: Final = "SELECT log FROM stream_heads WHERE log LIKE 'signals.%' ORDER BY log"
# A close that a block may be of: published once it was reached, by clocks a day apart at most.
_SOUND: Final = """
CASE WHEN as_of BETWEEN '1970-01-01Z' AND '9999-01-01Z'
     THEN as_of - interval '1 day' <= published_at ELSE false END
"""
# All by the index stream_blocks_log_as_of_idx.
_DECIDED: Final = f"""
SELECT least((SELECT min(as_of) FROM stream_blocks WHERE log = $1 AND {_SOUND}),
    (SELECT first_as_of FROM stream_bases
     WHERE log = $1 AND first_as_of BETWEEN '1970-01-01Z' AND '9999-01-01Z'))
"""  # noqa: S608 - words of ours
_ANSWERED: Final = f"""
SELECT max(as_of) FROM stream_blocks WHERE log = $1 AND {_SOUND}
"""  # noqa: S608 - words of ours
_TOO_EARLY: Final = f"""
SELECT block, as_of::text FROM stream_blocks
WHERE log = $1 AND as_of < coalesce($2::timestamptz, 'infinity') AND NOT {_SOUND}
ORDER BY block LIMIT 1
"""  # noqa: S608 - words of ours
_TOO_LATE: Final = f"""
SELECT block, as_of::text FROM stream_blocks
WHERE log = $1 AND as_of > coalesce($2::timestamptz, '-infinity') AND NOT {_SOUND}
ORDER BY block LIMIT 1
"""  # noqa: S608 - words of ours
_LISTINGS: Final = """
SELECT instrument_id, symbol, tick_size, lot_size, min_notional FROM instruments
WHERE exchange = $1 ORDER BY symbol
"""
_NEXT_OPEN: Final = """
SELECT min(following.open_time) FROM unnest($1::int[]) AS asked (instrument_id), LATERAL (
    SELECT open_time FROM candles c
    WHERE c.instrument_id = asked.instrument_id AND timeframe = $2 AND open_time >= $3
    ORDER BY open_time LIMIT 1
) following
"""


async def fold(connection: asyncpg.Connection, terms_of: TermsOf, *, closes: int) -> int:
    """Take each panel's account up to `closes` further; how many marks were made.

    Args:
        connection: that may write; each panel is a transaction.
        terms_of: that the accounts are to be on.
        closes: of each panel, at most.
    """
    made = 0
    for row in await connection.fetch(_PANELS):
        _, timeframe, exchange = row["log"].split(".", 2)
        async with connection.transaction():
            await connection.execute("LOCK TABLE ledger_marks IN EXCLUSIVE MODE")
            ledger = Ledger(exchange, Timeframe(timeframe), terms_of(exchange))
            made += await _advance(connection, ledger, closes)
    return made


async def _advance(connection: asyncpg.Connection, ledger: Ledger, closes: int) -> int:
    exchange, timeframe = ledger.exchange, ledger.timeframe
    answered = await connection.fetchval(_ANSWERED, _log("predictions", ledger))
    await _name(connection, _TOO_LATE, _log("predictions", ledger), answered)
    if answered is None:
        return 0
    since = await _resume(connection, ledger, answered)
    stretch = await _stretch(connection, ledger, since, answered, closes)
    if stretch is None:
        return 0
    for listing in stretch.listings.values():
        ledger.enlist(listing)
    found = await events(connection, stretch)
    marks = [mark for event in found for mark in step(ledger, event)]
    await connection.executemany(_WRITE, [_row(mark) for mark in marks])
    state = {"terms": asdict(ledger.terms), "ledger": ledger.snapshot().hex()}
    kept = Snapshot(
        exchange=exchange,
        timeframe=timeframe,
        room=ROOM,
        scope="",
        as_of=marks[-1].at if marks else stretch.until,
        payload=pack(state),
    )
    await snapshots.save(connection, (kept,))
    return len(marks)


def step(ledger: Ledger, event: Event) -> list[AccountMark]:
    """What an event makes of the ledger."""
    if isinstance(event, CandleBatch):
        return list(ledger.on_candles(event))
    if isinstance(event, FundingBatch):
        return list(ledger.on_funding(event))
    return list(ledger.on_signals(event))


async def _resume(
    connection: asyncpg.Connection, ledger: Ledger, answered: datetime
) -> datetime | None:
    """Take up the ledger's state and say up to when it goes; None where it begins."""
    place = (ledger.exchange, ledger.timeframe.value)
    key = (ledger.exchange, ledger.timeframe, ROOM, "")
    kept = await snapshots.load(connection, key, until=answered)
    state: Any = unpack(kept.payload) if kept else None
    if kept is not None and state["terms"] == asdict(ledger.terms):
        ledger.restore(bytes.fromhex(state["ledger"]))
        return kept.as_of
    for statement in _BEGIN_ANEW:
        await connection.execute(statement, *place)
    return None


async def _stretch(
    connection: asyncpg.Connection,
    ledger: Ledger,
    since: datetime | None,
    answered: datetime,
    closes: int,
) -> Stretch | None:
    """The closes to be folded next; None: there are none."""
    bar = ledger.timeframe.duration
    decided = await connection.fetchval(_DECIDED, _log("signals", ledger))
    await _name(connection, _TOO_EARLY, _log("signals", ledger), decided)
    if decided is None:
        return None
    since = since or decided - bar
    rows = await connection.fetch(_LISTINGS, ledger.exchange)
    listings = {row["instrument_id"]: _listing(ledger.exchange, row) for row in rows}
    opens = await connection.fetchval(_NEXT_OPEN, list(listings), ledger.timeframe.value, since)
    if opens is None or opens + bar > answered:
        return None
    return Stretch(
        exchange=ledger.exchange,
        timeframe=ledger.timeframe,
        since=since,
        until=min(answered, opens + closes * bar),
        listings=listings,
        funding=timedelta(hours=ledger.terms.funding_hours),
        running=ledger.running,
    )


async def _name(
    connection: asyncpg.Connection, statement: str, log: str, sound: datetime | None
) -> None:
    """Have the first block that is beyond the last sound close of a log among the troubles."""
    row = await connection.fetchrow(statement, log, sound)
    what = f"the log {log}"
    if row is None:
        damaged.mended(what)
    else:
        fault = f"block {row['block']} says it is of {row['as_of']}; paper accounts leave it out"
        damaged.meet(what, fault)


def _log(channel: str, ledger: Ledger) -> str:
    return f"{channel}.{ledger.timeframe}.{ledger.exchange}"


def _listing(exchange: str, row: asyncpg.Record) -> Listing:
    sizes = {name: row[name] for name in ("tick_size", "lot_size", "min_notional")}
    return Listing(instrument=Instrument(exchange, row["symbol"]), **sizes)


def _row(mark: AccountMark) -> list[Any]:
    values: list[Any] = []
    for name in _COLUMNS:
        value = getattr(mark, name)
        values.append(orjson.dumps(value).decode() if name in _JSON else value)
    return values
