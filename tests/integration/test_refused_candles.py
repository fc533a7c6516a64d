"""What cannot be, or cannot be read, is set aside with its reason, and counted."""

from __future__ import annotations

from base64 import b64decode
from math import nan

from backend.metrics import REGISTRY
from backend.store import database
from backend.store.candles import store_candles
from backend.store.instruments import Instruments
from backend.store.quarantine import refuse_candle, refuse_unreadable
from collectors.checks import reason
from collectors.unreadable import Unreadable
from domain.events import Source
from domain.market import from_ms
from tests.doubles import START
from tests.factories import candle


async def test_a_refused_candle_is_kept_as_it_was_told_and_counted(database_url: str) -> None:
    impossible = candle(close=nan)
    said = reason(impossible)
    assert said is not None
    before = counted(said)

    pool = await database.connect_pool(database_url)
    try:
        await refuse_candle(pool, impossible, reason=said, received_at=START)
        row = await pool.fetchrow("SELECT detail, payload ->> 'close' AS close FROM quarantine")
    finally:
        await pool.close()

    assert (row["detail"], row["close"]) == (said, "nan")
    assert counted(said) == before + 1


async def test_a_candle_of_no_calendar_is_set_aside_by_whatever_way_it_comes(
    database_url: str,
) -> None:
    good = candle()
    later = candle(open_ms=10**18)
    backfilled = candle(open_ms=10**15, source=Source.BACKFILL)

    pool = await database.connect_pool(database_url)
    try:
        changes = await store_candles(
            pool, Instruments(pool), [good, later, backfilled], known_at=START
        )
        stored = await pool.fetchval("SELECT array_agg(open_time) FROM candles")
        aside = await pool.fetch("SELECT detail FROM quarantine")
    finally:
        await pool.close()

    assert [one.open_ms for one in changes] == [good.open_ms]
    assert stored == [from_ms(good.open_ms)]
    assert {row["detail"] for row in aside} == {"a time that no calendar has"}
    assert len(aside) == 2


async def test_what_cannot_be_read_is_kept_byte_for_byte(database_url: str) -> None:
    sent = (b'{"k": "', "«½»".encode(), b"a\0b", b"\xff\xfe", b"")
    unread = [
        Unreadable(exchange="kraken", reason="KeyError: 'k'", raw=raw, size=len(raw))
        for raw in sent
    ]

    pool = await database.connect_pool(database_url)
    try:
        await refuse_unreadable(pool, unread, received_at=START)
        rows = await pool.fetch(
            """
            SELECT source, reason, detail, payload ->> 'exchange' AS exchange,
                   payload ->> 'raw' AS raw, payload ->> 'raw_base64' AS base64
            FROM quarantine ORDER BY id
            """
        )
    finally:
        await pool.close()

    assert {(row["source"], row["reason"], row["detail"], row["exchange"]) for row in rows} == {
        ("collectors", "unreadable", "KeyError: 'k'", "kraken")
    }
    kept = [
        row["raw"].encode() if row["base64"] is None else b64decode(row["base64"]) for row in rows
    ]
    assert tuple(kept) == sent


def counted(said: str) -> float:
    name = "alphapulse_candles_quarantined_total"
    return REGISTRY.get_sample_value(name, {"reason": said}) or 0.0
