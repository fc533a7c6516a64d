"""Candle versions enter the record; which one counts never depends on their arrival.

The versions of a candle are ordered by (confirmed, event time, trades, volume, row hash),
with «not told» lowest. `candles` keeps the highest, `candle_revisions` the others, each
distinct one once. A candle's `revision` counts the changes of prices or volume along that
order, so that a confirmation that changes nothing is no revision; its `known_at` is when
the first version with its present values was stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import asyncpg
import numpy as np

from backend.store.copy import Rows
from backend.store.instruments import Instruments
from backend.store.locks import panel, take_turn
from backend.store.merge import append, stage
from backend.store.quarantine import REFUSALS, keep_good
from backend.store.rows import HASH_BYTES, ints
from backend.store.tables import candles
from domain.events import Bools, Candle, CandleBatch, Floats, Ints, Source
from domain.market import Instrument, Timeframe, to_ms
from domain.trades import MadeOf

# Rows of one transaction: a tick of the same exchange waits for at most one of them.
CHUNK: Final = 5_000

_ORDER: Final = "confirmed, event_time NULLS FIRST, trades NULLS FIRST, volume, row_hash"
_KEY: Final = "instrument_id, timeframe, open_time"
_CONTENT: Final = "open, high, low, close, volume"
_FACTS: Final = f"close_time, {_CONTENT}, trades, event_time, confirmed, source"
_STORED: Final = f"{_KEY}, {_FACTS}, known_at, row_hash"
_NEW: Final = ", ".join(
    f"EXCLUDED.{name}" for name in f"{_FACTS}, revision, known_at, row_hash".split(", ")
)
_OLD: Final = _NEW.replace("EXCLUDED.", "kept.")

# OFFSET 0: one look into candles_pkey for each row, never a scan of the whole table.
_FIND: Final = """
SELECT position, stored.row_hash IS NULL AS fresh, stored.row_hash = told.row_hash
    AND stored.known_at <= told.known_at AND stored.source <= told.source AS same
FROM staged_candles AS told LEFT JOIN LATERAL (
    SELECT row_hash, known_at, source FROM candles
    WHERE instrument_id = told.instrument_id AND timeframe = told.timeframe
        AND open_time = told.open_time
    OFFSET 0
) AS stored ON true
"""
_MERGE: Final = f"""
WITH touched AS (
    SELECT DISTINCT {_KEY} FROM staged_candles
), told AS (
    SELECT {_STORED}, position FROM staged_candles
    UNION ALL SELECT {_STORED}, NULL FROM touched JOIN candles USING ({_KEY})
    UNION ALL SELECT {_STORED}, NULL FROM touched JOIN candle_revisions USING ({_KEY})
), versions AS (
    SELECT DISTINCT ON ({_KEY}, row_hash) {_KEY}, close_time, {_CONTENT}, trades, event_time,
        confirmed, row_hash, min(source) OVER same AS source, min(known_at) OVER same AS known_at,
        min(position) OVER (PARTITION BY {_KEY}) AS position
    FROM told WINDOW same AS (PARTITION BY {_KEY}, row_hash)
), compared AS (
    SELECT *, (ARRAY[{_CONTENT}]
        IS DISTINCT FROM lag(ARRAY[{_CONTENT}]) OVER line)::int AS changed
    FROM versions WINDOW line AS (PARTITION BY {_KEY} ORDER BY {_ORDER})
), numbered AS (
    SELECT *, (sum(changed) OVER (line ROWS UNBOUNDED PRECEDING))::int AS revision,
        row_number() OVER line = count(*) OVER (PARTITION BY {_KEY}) AS highest
    FROM compared WINDOW line AS (PARTITION BY {_KEY} ORDER BY {_ORDER})
), ranked AS (
    SELECT *, min(known_at) OVER (PARTITION BY {_KEY}, revision) AS first_known_at FROM numbered
), others AS (
    INSERT INTO candle_revisions AS kept ({_STORED})
    SELECT {_STORED} FROM ranked WHERE NOT highest
    ON CONFLICT ({_KEY}, row_hash) DO UPDATE
    SET known_at = EXCLUDED.known_at, source = EXCLUDED.source
    WHERE (kept.known_at, kept.source) IS DISTINCT FROM (EXCLUDED.known_at, EXCLUDED.source)
), latest AS (
    INSERT INTO candles AS kept ({_KEY}, {_FACTS}, revision, known_at, row_hash)
    SELECT {_KEY}, {_FACTS}, revision, first_known_at, row_hash FROM ranked WHERE highest
    ON CONFLICT ({_KEY}) DO UPDATE
    SET ({_FACTS}, revision, known_at, row_hash) = ROW ({_NEW})
    WHERE ({_OLD}) IS DISTINCT FROM ({_NEW})
)
SELECT position, ranked.revision
FROM ranked LEFT JOIN candles AS before USING ({_KEY})
WHERE highest AND (before.open, before.high, before.low, before.close, before.volume)
    IS DISTINCT FROM (ranked.open, ranked.high, ranked.low, ranked.close, ranked.volume)
ORDER BY position
"""  # noqa: S608 - names of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleChange:
    """A candle whose latest prices or volume are not what they were, or that is new."""

    instrument: Instrument
    timeframe: Timeframe
    open_ms: int
    revision: int


async def store_candles(
    pool: asyncpg.Pool, instruments: Instruments, told: Sequence[Candle], *, known_at: datetime
) -> list[CandleChange]:
    """Store candle versions, in transactions of CHUNK rows.

    Args:
        pool: where to write.
        instruments: their numbers.
        told: versions in any order, repeated or not; closed ones.
        known_at: when they came; a backfilled candle counts as known at its close.

    Returns:
        The candles that are new or have other prices or volume than before, once a chunk.
        Impossible ones are in quarantine instead.
    """
    ids = await instruments.ids([candle.instrument for candle in told])
    changes: list[CandleChange] = []
    for start in range(0, len(told), CHUNK):
        chunk = told[start : start + CHUNK]
        rows = version_rows(chunk, ids[start : start + CHUNK], known_at)
        panels = {panel(one.instrument.exchange, one.timeframe) for one in chunk}
        async with pool.acquire() as connection:
            revisions = await _store_chunk(connection, rows, panels, known_at)
        changes += [
            CandleChange(
                instrument=candle.instrument,
                timeframe=candle.timeframe,
                open_ms=candle.open_ms,
                revision=revision,
            )
            for candle, revision in zip(chunk, revisions.tolist(), strict=True)
            if revision
        ]
    return changes


async def _store_chunk(
    connection: asyncpg.Connection, rows: Rows, panels: set[str], received_at: datetime
) -> Ints:
    try:
        async with connection.transaction():
            await take_turn(connection, panels)
            await append(connection, [rows])
            return np.ones(rows.count, dtype=np.int64)
    except (asyncpg.UniqueViolationError, *REFUSALS):
        async with connection.transaction():
            await take_turn(connection, panels)
            return await merge_versions(connection, rows, received_at=received_at)


async def merge_versions(
    connection: asyncpg.Connection, rows: Rows, *, received_at: datetime
) -> Ints:
    """Enter versions beside those that are stored, within the caller's transaction and turn.

    Returns:
        For one version of each candle that changed its revision, else 0, shape (n,).
    """

    async def enter(some: Rows) -> Ints:
        revisions = np.zeros(some.count, dtype=np.int64)
        new, known = await _find(connection, some)
        if len(new):
            await append(connection, [some.take(new)])
            revisions[new] = 1
        rest = np.setdiff1d(np.arange(some.count), np.concatenate([new, known]))
        if len(rest):
            await stage(connection, some.take(rest))
            for position, revision in await connection.fetch(_MERGE):
                revisions[rest[position]] = revision
        return revisions

    positions, distinct = _distinct(rows)
    revisions = np.zeros(rows.count, dtype=np.int64)
    revisions[positions] = await keep_good(connection, distinct, enter, received_at=received_at)
    return revisions


async def _find(connection: asyncpg.Connection, rows: Rows) -> tuple[Ints, Ints]:
    """Positions of the only versions of new candles, and of versions stored as they are."""
    await stage(connection, rows)
    found = await connection.fetch(_FIND)
    keys = _keys(rows)
    times = Counter(keys)
    fresh = [row["position"] for row in found if row["fresh"]]
    new = [position for position in fresh if times[keys[position]] == 1]
    return ints(new), ints([row["position"] for row in found if row["same"]])


def _keys(rows: Rows) -> list[tuple[int, str, int]]:
    timeframes = rows.columns["timeframe"]
    if isinstance(timeframes, str):
        timeframes = [timeframes] * rows.count
    numbers, opened = (rows.columns[name].tolist() for name in ("instrument_id", "open_time"))
    return list(zip(numbers, timeframes, opened, strict=True))


def version_rows(told: Sequence[Candle], ids: Ints, known_at: datetime) -> Rows:
    """Rows of `candles` for versions as they were told, each as if it were the first."""
    prices = [(one.open, one.high, one.low, one.close, one.volume) for one in told]
    trades = [-1 if one.trades is None else one.trades for one in told]
    timeframes = [one.timeframe for one in told]
    lengths = {timeframe: timeframe.ms for timeframe in set(timeframes)}
    return _rows(
        ids,
        timeframes[0] if len(lengths) == 1 else timeframes,
        _Told(
            open_ms=ints([one.open_ms for one in told]),
            length_ms=ints([lengths[timeframe] for timeframe in timeframes]),
            prices=np.array(prices, dtype=np.float64).reshape(-1, 5) + 0.0,
            trades=ints(trades),
            event_ms=ints([one.event_ms for one in told]),
            confirmed=np.array([one.confirmed for one in told], dtype=np.bool_),
            sources=[_source(one) for one in told],
        ),
        known_at,
    )


def _source(candle: Candle) -> str:
    """The way it came in, or what it was put together from; all of history is `backfill`."""
    told = candle.made_of is MadeOf.EXCHANGE or candle.source is Source.BACKFILL
    return candle.source if told else candle.made_of


def batch_rows(batch: CandleBatch, ids: Ints) -> Rows:
    """The same for a batch whose versions nobody has kept."""
    count = len(batch)
    prices = np.stack([batch.open, batch.high, batch.low, batch.close, batch.volume], axis=1)
    return _rows(
        ids,
        batch.timeframe,
        _Told(
            open_ms=np.full(count, to_ms(batch.as_of) - batch.timeframe.ms, dtype=np.int64),
            length_ms=np.full(count, batch.timeframe.ms, dtype=np.int64),
            prices=prices + 0.0,
            trades=np.full(count, -1, dtype=np.int64),
            event_ms=np.zeros(count, dtype=np.int64),
            confirmed=np.full(count, batch.source is not Source.LIVE),
            sources=[batch.source] * count,
        ),
        batch.known_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Told:
    """Versions as columns; −1 trades and event time 0 were not told. −0.0 is 0.0."""

    open_ms: Ints
    length_ms: Ints
    prices: Floats  # (n, 5) open, high, low, close, volume
    trades: Ints
    event_ms: Ints
    confirmed: Bools
    sources: Sequence[str]


def _rows(ids: Ints, timeframe: str | Sequence[str], told: _Told, known_at: datetime) -> Rows:
    opened, high, low, close, volume = told.prices.T
    close_ms = told.open_ms + told.length_ms
    backfilled = np.array([source == Source.BACKFILL for source in told.sources], dtype=np.bool_)
    return Rows(
        candles,
        len(ids),
        {
            "instrument_id": ids,
            "timeframe": timeframe,
            "open_time": told.open_ms,
            "close_time": close_ms,
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "volume": volume,
            "trades": np.ma.masked_equal(told.trades, -1),
            "event_time": np.ma.masked_equal(told.event_ms, 0),
            "confirmed": told.confirmed,
            "source": told.sources,
            "revision": 1,
            "known_at": np.where(backfilled, close_ms, to_ms(known_at)),
            "row_hash": version_hashes(told),
        },
    )


def version_hashes(told: _Told) -> list[bytes]:
    """BLAKE2b of each version's big-endian content."""
    layout = [("prices", ">f8", (5,)), ("whole", ">i8", (2,)), ("confirmed", "u1")]
    block = np.empty(len(told.prices), np.dtype(layout))
    block["prices"] = told.prices
    block["whole"][:, 0] = told.trades
    block["whole"][:, 1] = told.event_ms
    block["confirmed"] = told.confirmed
    content, width = block.tobytes(), block.dtype.itemsize
    return [
        blake2b(content[start : start + width], digest_size=HASH_BYTES).digest()
        for start in range(0, len(content), width)
    ]


def _distinct(rows: Rows) -> tuple[Ints, Rows]:
    """One row of each version, with the least source and time of its repetitions."""
    known, sources = rows.columns["known_at"].tolist(), list(rows.columns["source"])
    chosen: dict[tuple[Any, ...], int] = {}
    versions = zip(_keys(rows), rows.columns["row_hash"], strict=True)
    for position, version in enumerate(versions):
        first = chosen.setdefault(version, position)
        known[first] = min(known[first], known[position])
        sources[first] = min(sources[first], sources[position])
    positions = ints(list(chosen.values()))
    least = {**rows.columns, "known_at": ints(known), "source": sources}
    return positions, Rows(rows.table, rows.count, least).take(positions)
