"""The hash chain: whole as written, and broken by whatever is done to it afterwards."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import orjson
import pytest
from pydantic import SecretStr

from backend.settings import Settings
from backend.store import database, migrate
from backend.store.chain import Break, verify
from backend.store.instruments import Instruments
from backend.store.payloads import json_rows
from backend.store.recorder import Recorder
from backend.store.stream_log import Drafts, Extension, StreamEvent, StreamLog
from backend.upkeep import check_health, print_heads, verify_streams
from domain.errors import StoreError
from tests.integration.store_samples import at, candles

BTC = "candles.1h.binance.BTC/USDT"  # the second of three; block n has its event n


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database whose streams have four events each."""
    pool = await database.connect_pool(database_url, size=1)
    recorder = Recorder(pool, Instruments(pool))
    for number in range(1, 5):
        await recorder.commit_tick([candles(number)], published_at=at(number))
    async with pool.acquire() as connection:
        yield connection
    await pool.close()


async def test_an_untouched_log_is_whole(connection: asyncpg.Connection) -> None:
    assert await verify(connection) is None
    assert await verify(connection, BTC) is None


@pytest.mark.parametrize(
    ("deed", "offset"),
    [
        ("payloads = overlay(payloads PLACING ' ' FROM ends[1] + 1) WHERE block = 2", 2),
        ("published_at = published_at - interval '1 ms' WHERE block = 1", 1),
        ("as_of = as_of - interval '1 ms' WHERE block = 3", 3),
        ("event = 'opened' WHERE block = 4", 4),
        ("offsets[2] = 9 WHERE block = 2", 2),
        ("places[2] = 9 WHERE block = 2", 2),
        ("ends = '{}' WHERE block = 3", 3),
        ("hashes = '' WHERE block = 3", 3),
        ("places = '{1}' WHERE block = 4", 4),
        ("places[2] = NULL WHERE block = 3", 3),
        ("places = '{{1,2},{3,4}}' WHERE block = 4", 4),
        ("offsets[2] = NULL WHERE block = 3", 3),
        ("offsets = offsets[1:1] WHERE block = 4", 4),
        ("ends[2] = NULL WHERE block = 2", 2),
        ("ends[2] = -5 WHERE block = 2", 2),
        ("ends = '{{1,2},{3,4}}' WHERE block = 2", 2),
        ("hashes = substr(hashes, 1, 50) WHERE block = 2", 2),
        ("as_of = '-infinity' WHERE block = 2", 2),
        ("as_of = '0044-03-15 BC' WHERE block = 2", 2),
        ("published_at = '20000-01-01' WHERE block = 2", 2),
    ],
)
async def test_an_edited_event_is_named(
    connection: asyncpg.Connection, deed: str, offset: int
) -> None:
    await connection.execute(f"UPDATE stream_blocks SET {deed}")  # noqa: S608 - constants above

    await _names(connection, offset)


@pytest.mark.parametrize("offset", [1, 3, 4])
async def test_a_deleted_event_is_named(connection: asyncpg.Connection, offset: int) -> None:
    await connection.execute("DELETE FROM stream_blocks WHERE block = $1", offset)

    await _names(connection, offset)


@pytest.mark.parametrize(
    ("deed", "offset"), [("offsets[2] = 3", 4), ("epoch = 'other'", 1), ("hashes = hashes", None)]
)
async def test_an_edited_head_is_named(
    connection: asyncpg.Connection, deed: str, offset: int | None
) -> None:
    await connection.execute(f"UPDATE stream_heads SET {deed}")  # noqa: S608 - constants above

    await _names(connection, offset)


@pytest.mark.parametrize(
    "deed",
    [
        "streams = streams[1:2]",
        "streams[2] = streams[1]",
        "streams[2] = NULL",
        "streams = '{{a,b},{c,d}}'",
        "offsets = offsets[1:2]",
        "offsets[2] = NULL",
        "hashes = substr(hashes, 1, 50)",
        "hashes = ''",
    ],
)
async def test_a_head_that_does_not_hold_together_is_one_line(
    connection: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    deed: str,
) -> None:
    settings = Settings(database_url=SecretStr(database_url), state=tmp_path)
    await print_heads(settings)
    kept = tmp_path / "heads.jsonl"
    kept.write_text(capsys.readouterr().out)
    await connection.execute(f"UPDATE stream_heads SET {deed}")  # noqa: S608 - constants above

    assert await verify_streams(settings) == 1
    assert await verify_streams(settings, kept) == 1
    with pytest.raises(StoreError, match=r"the head of candles\.1h\.binance was edited"):
        await print_heads(settings)

    alone, *beside = capsys.readouterr().out.splitlines()
    assert re.match(r"stream candles\.1h\.binance: offset 0: the head of .* was edited", alone)
    assert beside == [alone, alone]


@pytest.mark.parametrize("block", [3, 5])
async def test_a_head_that_names_another_block_as_the_last_is_named(
    connection: asyncpg.Connection, block: int
) -> None:
    await connection.execute("UPDATE stream_heads SET block = $1", block)

    reason = f"the head was edited: it says block {block}, and block 4 is the last"
    assert await verify(connection) == Break(stream=BTC[:18], offset=0, reason=reason)
    assert await verify(connection, BTC) == await verify(connection)


async def test_a_log_is_never_told_earlier_than_before(database_url: str) -> None:
    pool = await database.connect_pool(database_url, size=1)
    recorder, again = (Recorder(pool, Instruments(pool)) for _ in range(2))
    told = [
        await one.commit_tick([candles(number)], published_at=at(hour))
        for number, (one, hour) in enumerate(
            [(recorder, 5), (recorder, 3), (again, 4), (again, 6)], start=1
        )
    ]

    moments = [{event.published_at for event in events} for events in told]
    stored = await pool.fetch("SELECT published_at FROM stream_blocks ORDER BY block")
    assert moments == [{at(5)}, {at(5)}, {at(5)}, {at(6)}]
    assert [{row["published_at"]} for row in stored] == moments
    async with pool.acquire() as connection:
        assert await verify(connection) is None
    await pool.close()


async def _names(connection: asyncpg.Connection, offset: int | None) -> None:
    found, mine = await verify(connection), await verify(connection, BTC)
    assert (found and found.offset) == offset
    assert (mine and (mine.stream, mine.offset)) == (offset and (BTC, offset))


async def test_an_append_goes_on_where_another_task_forgets_the_heads(
    connection: asyncpg.Connection,
) -> None:
    log = StreamLog()

    async def write(extension: Extension) -> None:
        log.forget([["gaps"]])
        extension.add(Drafts("opened", at(5), ["gaps"], [b"{}"]))
        await extension.write(connection)

    told = await log.append(connection, [["gaps"]], write, turns=["gaps"], published_at=at(5))

    assert [one.offset for one in told] == [1]


async def test_verify_and_doctor_name_the_offset_as_people_read_it(
    connection: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await connection.execute("DELETE FROM stream_blocks WHERE block = 3")
    settings = Settings(database_url=SecretStr(database_url), state=tmp_path)

    assert await verify_streams(settings) == 1
    said = capsys.readouterr().out
    await check_health(settings)

    assert re.fullmatch(r"stream candles\.1h\.binance\.ADA/USDT: offset 3: [a-z ]+\n", said)
    assert f"WARN streams: {said}" in capsys.readouterr().out


async def test_doctor_says_what_else_it_found_where_a_table_is_missing(
    connection: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await connection.execute("DROP TABLE ingest_gaps")

    assert await check_health(Settings(database_url=SecretStr(database_url), state=tmp_path)) == 1
    said = capsys.readouterr().out
    assert "ok   streams: every chain intact\n" in said
    assert 'WARN database: relation "ingest_gaps" does not exist\n' in said
    assert f"WARN schema: {migrate.heads()[0]}; it lacks the table ingest_gaps: what was" in said
    assert "running system: none on this state folder\n" in said


async def test_streams_beside_the_changed_one_are_whole(connection: asyncpg.Connection) -> None:
    await connection.execute("UPDATE stream_heads SET offsets[2] = 3")

    assert await verify(connection, "candles.1h.binance.ADA/USDT") is None
    assert await verify(connection, "candles.1h.binance.NONE/USDT") is None


async def test_a_rewritten_event_with_its_own_new_hash_breaks_the_next(
    connection: asyncpg.Connection,
) -> None:
    await connection.execute("""
        UPDATE stream_blocks SET places = '{2}', offsets = '{2}', ends = '{2}', payloads = '{}',
                                 hashes = sha256('{}')
        WHERE block = 2
    """)

    found = await verify(connection, BTC)

    assert found is not None
    assert found.offset == 2


async def test_the_hash_can_be_recomputed_from_its_description(
    connection: asyncpg.Connection,
) -> None:
    row = await connection.fetchrow(
        'SELECT * FROM stream_events WHERE "offset" = 1 AND stream = $1', BTC
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
