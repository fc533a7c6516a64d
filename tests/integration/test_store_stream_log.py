"""The hash chain: whole as written, and broken by whatever is done to it afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import asyncpg
import numpy as np
import orjson
import pytest

from backend.store import database
from backend.store.instruments import Instruments
from backend.store.payloads import json_rows
from backend.store.recorder import Recorder
from backend.store.stream_log import Break, StreamEvent, verify
from tests.integration.store_samples import at, candles

BTC = "candles.1h.binance.BTC/USDT"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database whose streams have four events each."""
    pool = await database.connect_pool(database_url, size=1)
    recorder = Recorder(pool, Instruments(pool), feature_set="ohlcv@1")
    for number in range(1, 5):
        await recorder.commit_tick([candles(number)], published_at=at(number))
    async with pool.acquire() as connection:
        yield connection
    await pool.close()


async def test_an_untouched_log_is_whole(connection: asyncpg.Connection) -> None:
    assert await verify(connection) is None
    assert await verify(connection, BTC) is None


MINE = "stream_id = (SELECT stream_id FROM stream_heads WHERE stream LIKE '%BTC%')"


@pytest.mark.parametrize(
    ("deed", "offset"),
    [
        ("UPDATE stream_events SET payload = payload || ' ' WHERE \"offset\" = 2", 2),
        ("UPDATE stream_events SET published_at = published_at - interval '1 ms'", 1),
        ("UPDATE stream_events SET as_of = as_of - interval '1 ms' WHERE \"offset\" = 3", 3),
        ("UPDATE stream_events SET event = 'opened' WHERE \"offset\" = 4", 4),
        ("UPDATE stream_events SET epoch = 'other' WHERE \"offset\" = 2", 2),
        ('DELETE FROM stream_events WHERE "offset" = 1', 1),
        ('DELETE FROM stream_events WHERE "offset" = 3', 3),
        ('DELETE FROM stream_events WHERE "offset" = 4', 4),
        ("UPDATE stream_heads SET head_offset = 3", 4),
    ],
)
async def test_the_first_changed_event_is_named(
    connection: asyncpg.Connection, deed: str, offset: int
) -> None:
    mine = f"{deed} {'AND' if 'WHERE' in deed else 'WHERE'} {MINE}"
    await connection.execute(mine)

    found = await verify(connection)

    assert isinstance(found, Break)
    assert (found.stream, found.offset) == (BTC, offset)
    assert await verify(connection, "candles.1h.binance.ADA/USDT") is None


async def test_a_rewritten_event_with_its_own_new_hash_breaks_the_next(
    connection: asyncpg.Connection,
) -> None:
    deed = "UPDATE stream_events SET payload = '{}', hash = sha256('{}')"
    await connection.execute(f'{deed} WHERE "offset" = 2 AND {MINE}')

    assert (await verify(connection)) is not None


async def test_the_hash_can_be_recomputed_from_its_description(
    connection: asyncpg.Connection,
) -> None:
    row = await connection.fetchrow(
        f'SELECT * FROM stream_events WHERE "offset" = 1 AND {MINE}'  # noqa: S608 - a constant
    )

    text = "\n".join(
        [
            "0" * 64,
            BTC,
            row["epoch"],
            "1",
            "candle",
            "2024-01-01T01:00:00.000Z",
            "2024-01-01T01:00:00.000Z",
            row["payload"].decode(),
        ]
    )
    assert sha256(text.encode()).digest() == row["hash"]


def test_columns_become_the_same_json_as_rows() -> None:
    rows: list[dict[str, Any]] = [
        {"symbol": 'A"/%b', "price": 0.1 + 0.2, "count": 3, "rate": "5 %", "codes": ["x", "y"]},
        {"symbol": "B", "price": None, "count": -1, "rate": "5 %", "codes": []},
        {"symbol": "A", "price": 1e-7, "count": 2**60, "rate": "5 %", "codes": ["x"]},
    ]

    columns = {
        "symbol": [row["symbol"] for row in rows],
        "price": np.array([0.1 + 0.2, np.nan, 1e-7]),
        "count": np.array([3, -1, 2**60]),
        "rate": "5 %",
        "codes": [("x", "y"), (), ("x",)],
    }

    assert json_rows(columns, 3) == [orjson.dumps(row) for row in rows]
    assert json_rows({"a": [], "b": 1}, 0) == []


def test_a_stream_event_is_a_plain_tuple_of_its_parts() -> None:
    assert StreamEvent._fields[:4] == ("stream", "epoch", "offset", "event")
