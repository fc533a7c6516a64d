"""Compares the rows of predictions and signals with what was published of them.

The chain proves that the events are as they were published; an event carries its row. Rows of
members and challengers are not published, and nothing here can tell whether they were altered; of
rows whose events were dropped nothing can any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg
import orjson

from backend.store.stream_log import split_payloads
from backend.store.stream_reads import Base, read_base
from domain.errors import StoreError

_SHOWN: Final = 120  # bytes of an event that cannot be read
_PAGE: Final = 100  # blocks that are held at a time
_LOGS: Final = "SELECT log FROM stream_heads ORDER BY log"
_BLOCKS: Final = """
SELECT block, event, as_of > $4 AS kept, ends, payloads FROM stream_blocks
WHERE log = $1 AND block > $2 ORDER BY block LIMIT $3
"""
_WORD: Final = 'text COLLATE "C"'
_KEY: Final = {
    **dict.fromkeys(("exchange", "symbol", "timeframe"), _WORD),
    "horizon": "int",
    "as_of": "timestamptz",
    "revision": "int",
}
_FLAT: Final = b'"side":"flat"'
_UNREADABLE: Final = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)  # of an edited event


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A row that is not what was published."""

    table: str
    row: str
    reason: str

    def __str__(self) -> str:
        return f"{self.table}: {self.row}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Channel:
    """How the events of a channel and the rows of a table say the same.

    Attributes:
        table: its rows.
        own: which of its rows are published, as a condition.
        first: the event that a row begins with.
        columns: beside the key, column → type, as the events have them.
        spelt: column → SQL, where the table has it in another form.
    """

    table: str
    own: str
    first: str
    columns: Mapping[str, str]
    spelt: Mapping[str, str]


_WORDS: Final = dict.fromkeys(("origin", "role", "target", "model", "version"), _WORD)
_FORECAST: Final = ("p_down", "p_flat", "p_up", "q10", "q50", "q90", "volatility", "dissimilarity")
_PRICES: Final = ("entry_price", "stop", "take", "exit_price", "realized_return")
_AMOUNTS: Final = ("strength", "size_fraction", "expected_edge_bps", *_PRICES)
_CHANNELS: Final = {
    "predictions": _Channel(
        table="ml_predictions",
        own="t.role = 'champion'",
        first="prediction",
        columns={
            **_WORDS,
            "made_at": "timestamptz",
            "members": "jsonb",
            **dict.fromkeys(_FORECAST, "float8"),
            "degraded": 'text[] COLLATE "C"',
        },
        spelt={
            "made_at": "date_trunc('milliseconds', t.made_at)",
            "degraded": "string_to_array(t.degraded, ',')",
        },
    ),
    "signals": _Channel(
        table="trading_signals",
        own="true",
        first="opened",
        columns={
            **dict.fromkeys(("side", "gate", "status", "model", "version"), _WORD),
            **dict.fromkeys(("expires_at", "closed_at"), "timestamptz"),
            **dict.fromkeys(_AMOUNTS, "float8"),
            "votes": "jsonb",
        },
        spelt={},
    ),
}


async def compare(connection: asyncpg.Connection, *, most: int = 20) -> list[Difference]:
    """Rows that are not as their last event says, or have no event: the first of each log.

    Log by log in the order of their names, within a log in that of publication.
    """
    found: list[Difference] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        told: dict[str, int] = {}
        for row in await connection.fetch(_LOGS):
            log = row["log"]
            channel = _CHANNELS.get(log.partition(".")[0])
            if channel is not None:
                told[log], differences = await _compare_log(connection, log, channel, most)
                found += differences[:most]
        for name, channel in _CHANNELS.items():
            found += await _never_published(connection, name, channel, told, most)
    return found


async def _compare_log(
    connection: asyncpg.Connection, log: str, channel: _Channel, most: int
) -> tuple[int, list[Difference]]:
    """How many rows were published, and of those that are others now the first.

    Rows of closes whose events may have been dropped are not counted.
    """
    found: list[Difference] = []
    open_yet: dict[tuple[Any, ...], bytes] = {}
    try:
        base = await read_base(connection, log)
    except StoreError:  # the chain names the head that was edited
        base = Base()
    block, count = base.block, 0
    while page := await connection.fetch(_BLOCKS, log, block, _PAGE, base.as_of):
        block = page[-1]["block"]
        final: list[bytes] = []
        for row in page:
            payloads = split_payloads(row["payloads"], row["ends"])
            own = row["event"] == channel.first and row["kept"]
            count += len(payloads) if own else 0
            final += _final(row["event"], payloads, open_yet)
        if len(found) < most:
            found += await _differing(connection, channel, final, most)
    return count, found + await _differing(connection, channel, list(open_yet.values()), most)


def _final(
    event: str, payloads: list[bytes], open_yet: dict[tuple[Any, ...], bytes]
) -> Iterator[bytes]:
    """Those that no later event follows; a signal with a side is open until it is closed."""
    for payload in payloads:
        if event == "prediction" or _FLAT in payload:
            yield payload
            continue
        key = _key(payload)
        if key is None:  # it is named where it is compared
            yield payload
        elif event == "closed":
            open_yet.pop(key, None)
            yield payload
        else:
            open_yet[key] = payload


def _key(payload: bytes) -> tuple[str | int, ...] | None:
    """Of which row an event is; None where it was edited, and is of none."""
    try:
        said = orjson.loads(payload)
        datetime.fromisoformat(said["as_of"]).astimezone(UTC)
        found = [said[name] for name in _KEY]
    except (ValueError, LookupError, TypeError, OverflowError):
        return None
    kinds = (int if kind == "int" else str for kind in _KEY.values())
    whole = all(type(one) is kind for one, kind in zip(found, kinds, strict=True))
    return tuple(found) if whole else None


async def _differing(
    connection: asyncpg.Connection, channel: _Channel, payloads: list[bytes], most: int
) -> list[Difference]:
    readable: list[bytes] = []
    unread: list[Difference] = []
    for one in payloads:
        if _key(one) is None:
            unread.append(_unread(channel, one))
        else:
            readable.append(one)
    return unread + (await _compared(connection, channel, readable, most) if readable else [])


async def _compared(
    connection: asyncpg.Connection, channel: _Channel, payloads: list[bytes], most: int
) -> list[Difference]:
    text = (b"[" + b",".join(payloads) + b"]").decode()
    try:
        async with connection.transaction():  # what fails is undone, and the rest goes on
            rows = await connection.fetch(_difference(channel), text, most)
    except _UNREADABLE:
        return await _unreadable(connection, channel, payloads, most)
    return [Difference(table=channel.table, row=_named(row), reason=_why(row)) for row in rows]


async def _unreadable(
    connection: asyncpg.Connection, channel: _Channel, payloads: list[bytes], most: int
) -> list[Difference]:
    """The differences of events of which some cannot be read, those among them."""
    if len(payloads) == 1:
        return [_unread(channel, payloads[0])]
    half = len(payloads) // 2
    found = await _compared(connection, channel, payloads[:half], most)
    return found + await _compared(connection, channel, payloads[half:], most)


def _unread(channel: _Channel, payload: bytes) -> Difference:
    row = " ".join(payload[:_SHOWN].decode(errors="replace").split()) or "an event without content"
    reason = "was published and cannot be read: it was edited"
    return Difference(table=channel.table, row=row, reason=reason)


def _why(row: asyncpg.Record) -> str:
    said, kept = _exact(row["said"]), _exact(row["kept"] or "null")
    if kept is None:
        return "was published and is missing"
    name = next(name for name in said if said[name] != kept[name])
    return f"{name} is {_spell(kept[name])}, published was {_spell(said[name])}"


async def _never_published(
    connection: asyncpg.Connection,
    name: str,
    channel: _Channel,
    told: Mapping[str, int],
    most: int,
) -> list[Difference]:
    rows: list[asyncpg.Record] = []
    for kept in await connection.fetch(_kept(channel), name):
        if kept["count"] > told.get(kept["log"], 0):
            try:
                async with connection.transaction():
                    rows += await connection.fetch(
                        _unknown(channel), kept["log"], channel.first, most
                    )
            except _UNREADABLE:  # an event that cannot be read, which is named already
                continue
    reason = "was never published"
    return [Difference(table=channel.table, row=_named(row), reason=reason) for row in rows]


def _named(row: asyncpg.Record) -> str:
    return (
        f"{row['exchange']}:{row['symbol']} {row['timeframe']}x{row['horizon']}"
        f" as_of {row['as_of']:%Y-%m-%dT%H:%M:%SZ} revision {row['revision']}"
    )


def _exact(text: str) -> Any:  # noqa: ANN401 - JSON
    """JSON whose numbers are as they are written: an edited one may be beyond a float."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _spell(value: object) -> str:
    return orjson.dumps(value, default=lambda one: orjson.Fragment(str(one))).decode()[:_SHOWN]


def _difference(channel: _Channel) -> str:
    columns = {**_KEY, **channel.columns}
    typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    mine = {"exchange": "i.exchange", "symbol": "i.symbol", **channel.spelt}
    kept = ", ".join(f"{mine.get(name, f't.{name}')} AS {name}" for name in columns)
    key = " AND ".join(f"t.{name} = said.{name}" for name in [*_KEY][2:])
    return f"""
    SELECT {", ".join(f"said.{name}" for name in _KEY)},
           to_json(said)::text AS said, to_json(kept)::text AS kept
    FROM json_to_recordset($1::text::json) AS said ({typed})
    LEFT JOIN LATERAL (
        SELECT {kept} FROM instruments i JOIN {channel.table} t USING (instrument_id)
        WHERE i.exchange = said.exchange AND i.symbol = said.symbol AND {key} AND {channel.own}
    ) AS kept ON true
    WHERE said IS DISTINCT FROM kept
    ORDER BY said.as_of, said.symbol LIMIT $2
    """  # noqa: S608 - names are ours


def _kept(channel: _Channel) -> str:
    return f"""
    SELECT concat_ws('.', $1::text, t.timeframe, i.exchange) AS log, count(*)
    FROM {channel.table} t JOIN instruments i USING (instrument_id)
    LEFT JOIN stream_bases base ON base.log = concat_ws('.', $1::text, t.timeframe, i.exchange)
    WHERE {channel.own} AND (base.log IS NULL OR t.as_of > base.last_as_of)
    GROUP BY i.exchange, t.timeframe ORDER BY 1
    """  # noqa: S608 - names are ours


def _unknown(channel: _Channel) -> str:
    """The first row of a log's instruments that none of its events is of."""
    key = ", ".join(f"t.{name}" for name in [*_KEY][2:])
    told = ", ".join(f"(said->>'{name}')::{kind}" for name, kind in _KEY.items())
    return f"""
    SELECT i.exchange, i.symbol, {key}
    FROM {channel.table} t JOIN instruments i USING (instrument_id)
    WHERE {channel.own} AND (t.timeframe, i.exchange)
        = (split_part($1, '.', 2), split_part($1, '.', 3))
        AND NOT EXISTS (SELECT FROM stream_bases WHERE log = $1 AND t.as_of <= last_as_of)
    EXCEPT
    SELECT {told} FROM (
        SELECT convert_from(payload, 'utf8')::json AS said FROM stream_events
        WHERE log = $1 AND event = $2
    ) AS events
    ORDER BY as_of, symbol LIMIT $3
    """  # noqa: S608 - names are ours
