"""Heads that were kept elsewhere tell what a chain that is whole cannot."""

from __future__ import annotations

import asyncpg
import orjson
import pytest

from backend.store import database, kept_heads
from backend.store.chain import breaks
from backend.store.stream_log import Drafts, StreamLog
from domain.errors import UsageError
from tests.doubles import START

BTC, ETH = "signals.1h.simulated.BTC/USDT", "signals.1h.simulated.ETH/USDT"


async def append(connection: asyncpg.Connection, *payloads: bytes) -> None:
    log = StreamLog()
    await log.open(connection, [[BTC, ETH]])
    for payload in payloads:
        extension = log.extend(START)
        extension.add(Drafts("opened", START, [BTC, ETH], [payload, payload]))
        async with connection.transaction():
            await extension.write(connection)
        log.remember(extension)


async def written_anew(connection: asyncpg.Connection, *payloads: bytes) -> None:
    """As somebody with the database would: other events, and heads that fit them."""
    epoch = await connection.fetchval("SELECT epoch FROM stream_heads")
    await connection.execute("TRUNCATE stream_blocks, stream_heads")
    await connection.execute(
        "INSERT INTO stream_heads (log, epoch) VALUES ('signals.1h.simulated', $1)", epoch
    )
    await append(connection, *payloads)


async def test_a_log_that_grew_goes_through_the_heads_that_it_had(database_url: str) -> None:
    connection = await database.connect(database_url)
    await append(connection, b"1", b"2")
    kept = kept_heads.parse("\n".join(one.line() for one in await kept_heads.heads(connection)))
    await append(connection, b"3")

    assert [(one.stream, one.offset) for one in kept] == [(BTC, 2), (ETH, 2)]
    assert await kept_heads.breaks(connection, kept) == []
    await connection.close()


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((b"1",), "beyond the log"),
        ((b"1", b"two"), "another hash"),
        ((b"one", b"2", b"3"), "another hash"),
    ],
)
async def test_a_log_that_was_written_anew_is_whole_and_does_not(
    database_url: str, others: tuple[bytes, ...], said: str
) -> None:
    connection = await database.connect(database_url)
    await append(connection, b"1", b"2")
    kept = await kept_heads.heads(connection)
    await written_anew(connection, *others)

    found = await kept_heads.breaks(connection, kept)

    assert await breaks(connection) == []
    assert [(one.stream, one.offset, said in one.reason) for one in found] == [
        (BTC, 2, True),
        (ETH, 2, True),
    ]
    await connection.close()


async def test_a_log_that_is_gone_is_missed(database_url: str) -> None:
    connection = await database.connect(database_url)
    await append(connection, b"1")
    kept = await kept_heads.heads(connection)
    await connection.execute("TRUNCATE stream_blocks, stream_heads")

    assert ["not there" in one.reason for one in await kept_heads.breaks(connection, kept)] == [
        True,
        True,
    ]
    await append(connection, b"1")
    anew = await kept_heads.breaks(connection, kept)
    assert all("began anew" in one.reason for one in anew)
    await connection.close()


def test_heads_are_read_from_lines_and_from_an_answer() -> None:
    row = {"stream": BTC, "epoch": "e", "offset": 2, "hash": "00"}
    none = {"stream": ETH, "epoch": None, "offset": 0, "hash": None}

    assert kept_heads.parse(orjson.dumps({"data": [row, none]}).decode()) == [
        kept_heads.KeptHead(**row)  # type: ignore[arg-type]
    ]
    for text in ("nonsense", "[1]", '{"stream": "x"}', '{"data": 1}'):
        with pytest.raises(UsageError):
            kept_heads.parse(text)
