"""Rows of predictions and signals against what was published of them: each deed is named."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import orjson
import pytest
from pydantic import SecretStr

from backend.settings import Settings
from backend.store import database
from backend.store.chain import verify
from backend.store.instruments import Instruments
from backend.store.published import compare
from backend.store.recorder import Recorder
from backend.store.stream_log import Drafts, StreamLog
from backend.upkeep import verify_streams
from tests.doubles import ManualClock
from tests.served_market import ServedMarket, record, signals

TICKS = 6
THIRD = "simulated:ETH/USDT 1hx4 as_of 2023-12-30T21:00:00Z revision 1"
OF_THIRD = """
    WHERE as_of = '2023-12-30T21:00Z'
      AND instrument_id = (SELECT instrument_id FROM instruments WHERE symbol = 'ETH/USDT')
    """
SERVED = f"ml_predictions {OF_THIRD} AND role = 'champion'"
SIGNAL = f"trading_signals {OF_THIRD}"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Six ticks of a market; the signal of the third was filled and then closed."""
    await record(database_url, TICKS)
    pool = await database.connect_pool(database_url, size=2)
    recorder = Recorder(pool, Instruments(pool))
    batch = ServedMarket.over(pool, ManualClock()).batches[2]
    filled = {"status": "active", "entry_price": 90.5, "stop": 88.0, "take": 93.0}
    ended = {"status": "take_profit", "exit_price": 93.0, "realized_return": 0.025}
    closed_ms = int((batch.as_of + timedelta(hours=2)).timestamp() * 1_000)
    for number, (event, state) in enumerate(
        (("updated", filled), ("closed", {**filled, **ended, "closed_ms": closed_ms})), start=1
    ):
        await recorder.commit_tick(
            [signals(batch, event=event, **state)],
            published_at=batch.as_of + timedelta(hours=number),
        )
    async with pool.acquire() as connection:
        yield connection
    await pool.close()


async def test_rows_that_nobody_touched_are_as_published(connection: asyncpg.Connection) -> None:
    assert await compare(connection) == []


async def test_what_earlier_builds_published_of_signals_still_verifies(
    connection: asyncpg.Connection,
) -> None:
    told = await connection.fetch(
        "SELECT stream, as_of, published_at, payload FROM stream_events WHERE event = 'opened'"
        " AND as_of = (SELECT max(as_of) FROM stream_events)"
    )
    rows = [orjson.loads(row["payload"]) for row in told]
    new = {"expected_edge_bps", "votes"}
    payloads = [orjson.dumps({name: row[name] for name in row.keys() - new}) for row in rows]
    await connection.execute(
        "UPDATE trading_signals SET expected_edge_bps = NULL, votes = NULL WHERE as_of = $1",
        told[0]["as_of"],
    )
    streams, log = [row["stream"] for row in told], StreamLog()
    await log.open(connection, [streams])
    extension = log.extend(told[0]["published_at"])
    extension.add(Drafts("updated", told[0]["as_of"], streams, payloads))
    async with connection.transaction():
        await extension.write(connection)

    assert {row["side"] for row in rows} == {"flat", "long"}
    assert await compare(connection) == []
    assert await verify(connection) is None


@pytest.mark.parametrize(
    ("table", "edit", "reason"),
    [
        ("ml_predictions", "q50 = q50 + 0.0005", "q50 is 0.0015, published was 0.001"),
        ("ml_predictions", "volatility = NULL", "volatility is null, published was 0.012"),
        ("ml_predictions", "degraded = 'late'", 'degraded is ["late"], published was []'),
        ("ml_predictions", "origin = 'late'", 'origin is "late", published was "live"'),
        (
            "ml_predictions",
            "members = '{}'",
            'members is {}, published was {"class_prior.direction":"1"}',
        ),
        (
            "trading_signals",
            "votes = '{}'",
            'votes is {}, published was {"logistic.direction":0.4}',
        ),
        (
            "trading_signals",
            "expected_edge_bps = NULL",
            "expected_edge_bps is null, published was 31.5",
        ),
        ("trading_signals", "strength = 0.75", "strength is 0.75, published was 0.25"),
        (
            "trading_signals",
            "realized_return = 0.5",
            "realized_return is 0.5, published was 0.025",
        ),
    ],
)
async def test_an_edited_row_is_named_with_its_field(
    connection: asyncpg.Connection, table: str, edit: str, reason: str
) -> None:
    champion = "AND role = 'champion'" if table == "ml_predictions" else ""
    await connection.execute(f"UPDATE {table} SET {edit} {OF_THIRD} {champion}")  # noqa: S608 - constants above

    assert await said(connection) == [f"{table}: {THIRD}: {reason}"]


@pytest.mark.parametrize("rows", [SERVED, SIGNAL])
async def test_a_deleted_row_is_named(connection: asyncpg.Connection, rows: str) -> None:
    await connection.execute(f"DELETE FROM {rows}")  # noqa: S608 - constants above

    found = await said(connection)

    assert found == [f"{rows.split(maxsplit=1)[0]}: {THIRD}: was published and is missing"]


@pytest.mark.parametrize("rows", [SERVED, SIGNAL])
async def test_a_row_that_was_added_later_is_named(
    connection: asyncpg.Connection, rows: str
) -> None:
    table = rows.split(maxsplit=1)[0]
    await connection.execute(f"CREATE TEMP TABLE copied AS SELECT * FROM {rows}")  # noqa: S608
    await connection.execute("UPDATE copied SET as_of = as_of - interval '1 day'")
    await connection.execute(f"INSERT INTO {table} SELECT * FROM copied")  # noqa: S608

    found = await said(connection)

    assert found == [f"{table}: {THIRD.replace('30T21', '29T21')}: was never published"]


async def test_rows_are_named_whose_whole_log_was_deleted(connection: asyncpg.Connection) -> None:
    for table in ("stream_blocks", "stream_heads"):
        await connection.execute(f"DELETE FROM {table} WHERE log LIKE 'signals.%'")  # noqa: S608

    found = await said(connection)

    assert found[0].startswith("trading_signals: simulated:BTC/USDT 1hx4")
    assert all(one.endswith("was never published") for one in found)
    assert len(found) == await connection.fetchval("SELECT count(*) FROM trading_signals")


async def test_of_many_differing_rows_of_a_log_the_first_are_named(
    connection: asyncpg.Connection,
) -> None:
    await connection.execute("UPDATE trading_signals SET strength = 0.75")

    every = await compare(connection)

    assert len(every) == await connection.fetchval("SELECT count(*) FROM trading_signals")
    assert await compare(connection, most=2) == every[:2]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('"symbol"', '"symbo_"'),
        ('"horizon"', '"horizo_"'),
        ('"as_of"', '"as_o_"'),
        ('"horizon":4', '"horizon":[4]'),
        ('"horizon":4', '"horizon":"4"'),
        ('"horizon":4', '"horizon":9999999999'),
        ('"revision":1', '"revision":true'),
        ('"as_of":"2023', '"as_of":"0000'),
        ('"symbol":"ETH/USDT"', '"symbol":{"a":["b"]}'),
        ('"ETH/USDT"', '"E\\ud800"'),
        ("0.4}", "0.40000000000000000000001}"),
        (None, "[1]"),
        (None, "4"),
        (None, '"a"'),
        (None, "null"),
        (None, "{}"),
        (None, ""),
        (None, "[" * 400),
        (None, "\xff"),
    ],
)
async def test_an_edited_event_is_one_break_and_one_difference(
    connection: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    was: str | None,
    becomes: str,
) -> None:
    tables = {"signals": "trading_signals", "predictions": "ml_predictions"}
    edited = ["signals"] if was == "0.4}" else [*tables]
    for channel in edited:
        await edit(connection, f"{channel}.1h.simulated.ETH/USDT", was, becomes)

    assert await verify_streams(Settings(state=tmp_path, database_url=SecretStr(database_url))) == 1

    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 * len(edited)
    for channel in edited:
        broken = f"stream {channel}.1h.simulated.ETH/USDT: offset 6: its content does not"
        assert sum(line.startswith(broken) for line in told) == 1
        assert sum(line.startswith(f"{tables[channel]}: ") for line in told) == 1


async def edit(connection: asyncpg.Connection, stream: str, was: str | None, becomes: str) -> None:
    """Make another text of the payload of the last block's event of a stream, as long as before.

    Its place in its block is the second of three.
    """
    log = stream.rpartition(".")[0]
    row = await connection.fetchrow(
        "SELECT block, ends, payloads FROM stream_blocks WHERE log = $1 AND cardinality(ends) = 3"
        " ORDER BY block DESC",
        log,
    )
    first, second, _ = row["ends"]
    payload: bytes = row["payloads"][first:second]
    new = becomes.encode("latin-1")
    new = new if was is None else payload.replace(was.encode(), new)
    assert new != payload
    new = new.ljust(len(payload))
    await connection.execute(
        """
        UPDATE stream_blocks SET payloads = overlay(payloads PLACING $3 FROM $4 FOR $5),
            ends = ARRAY[$4 - 1, $4 - 1 + $6, ends[3] + $6 - $5]
        WHERE log = $1 AND block = $2
        """,
        log, row["block"], new, first + 1, len(payload), len(new),
    )  # fmt: skip


async def said(connection: asyncpg.Connection) -> list[str]:
    return [str(one) for one in await compare(connection)]


async def test_verify_exits_with_1_and_names_all_that_is_not_as_published(
    connection: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(state=tmp_path, database_url=SecretStr(database_url))
    assert await verify_streams(settings) == 0
    assert re.match(r"[1-9]\d* events of [1-9]\d* streams are intact", capsys.readouterr().out)

    await connection.execute(f"UPDATE ml_predictions SET q10 = -1 {OF_THIRD} AND role = 'champion'")  # noqa: S608
    await connection.execute(f"UPDATE trading_signals SET strength = 0.75 {OF_THIRD}")  # noqa: S608
    await connection.execute("DELETE FROM stream_blocks WHERE log LIKE 'candles.%' AND block = 2")

    assert await verify_streams(settings) == 1
    broken, forecast, signal = capsys.readouterr().out.splitlines()
    assert re.match(r"stream candles\.1h\..*: missing", broken)
    assert forecast.startswith(f"ml_predictions: {THIRD}")
    assert signal.startswith(f"trading_signals: {THIRD}")
