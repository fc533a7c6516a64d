"""Our binary COPY against the server's own, to the bit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import asyncpg
import numpy as np
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from backend.store.copy import Rows, decode, joined, message
from backend.store.tables import ml_predictions

KINDS = Table(
    "kinds",
    MetaData(),
    Column("small", SmallInteger),
    Column("number", Integer),
    Column("large", BigInteger),
    Column("flag", Boolean),
    Column("real", Double),
    Column("moment", TIMESTAMP(timezone=True)),
    Column("word", Text),
    Column("content", JSONB),
    Column("reals", ARRAY(Double)),
    Column("raw", LargeBinary),
)
CREATE = """CREATE TABLE kinds (small smallint, number int, large bigint, flag bool, real float8,
    moment timestamptz, word text, content jsonb, reals float8[], raw bytea)"""

FULL: dict[str, Any] = {
    "small": np.array([-1, 0, 1]),
    "number": 7,
    "large": np.array([2**62, -(2**62), 0]),
    "flag": np.array([True, False, True]),
    "real": np.array([0.1 + 0.2, -0.0, 1e-308]),
    "moment": np.array([0, 946_684_800_000, 1_704_067_200_123]),
    "word": ["", "short", "longer than that: ü"],
    "content": b'{"a": 1}',
    "reals": np.array([[1.5, -2.5], [1e300, 5e-324], [0.1, 0.2]]),
    "raw": [b"\x00", b"\xff\x00", b"abc\x00\x00"],
}
HOLES: dict[str, Any] = {
    "small": np.ma.masked_equal(np.array([-1, 0, 1]), -1),
    "number": None,
    "large": np.ma.masked_array(np.array([5, 6, 7]), [True, True, True]),
    "flag": np.ma.masked_array(np.array([True, False, True]), [False, True, False]),
    "real": np.array([np.nan, 2.0, np.nan]),
    "moment": np.ma.masked_equal(np.array([0, 1_704_067_200_000, 0]), 0),
    "word": ["x", None, "yy"],
    "content": [None, b"[1, 2]", b"null"],
    "reals": np.array([[np.nan, np.nan], [1.0, np.nan], [0.1, 0.2]]),
    "raw": [None, b"", b"abc"],
}
EDGES: dict[str, Any] = {**FULL, "word": ["", "", ""], "raw": [b"12", b"34", b"56"], "real": 0.5}
EDGES["moment"] = datetime(2024, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)


@pytest.fixture
async def connection(server_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server_url)
    await connection.execute(CREATE.replace("TABLE", "TEMP TABLE"))
    yield connection
    await connection.close()


async def copy_in(connection: asyncpg.Connection, rows: Rows) -> None:
    await connection.copy_to_table(
        "kinds", source=message([rows.encode()]), columns=list(rows.columns), format="binary"
    )


async def copy_out(connection: asyncpg.Connection, query: str = "SELECT * FROM kinds") -> bytes:
    output = BytesIO()
    await connection.copy_from_query(query, output=output, format="binary")
    return output.getvalue()


@pytest.mark.parametrize("columns", [FULL, HOLES, EDGES], ids=["full", "holes", "edges"])
async def test_encoded_rows_equal_the_servers_own_to_the_bit(
    connection: asyncpg.Connection, columns: dict[str, Any]
) -> None:
    rows = Rows(KINDS, 3, columns)

    await copy_in(connection, rows)

    assert await copy_out(connection) == bytes(message([rows.encode()]))


async def test_values_read_back_as_they_were_given(connection: asyncpg.Connection) -> None:
    await copy_in(connection, Rows(KINDS, 3, FULL))
    await copy_in(connection, Rows(KINDS, 3, HOLES))
    rows = await connection.fetch("SELECT * FROM kinds")

    assert [row["large"] for row in rows] == [2**62, -(2**62), 0, None, None, None]
    assert rows[0]["real"] == 0.30000000000000004
    assert rows[2]["moment"] == datetime(2024, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    assert rows[2]["word"] == "longer than that: ü"
    assert rows[4]["reals"] == [1.0, None]
    assert [row["content"] for row in rows[3:]] == [None, "[1, 2]", "null"]
    assert [row["small"] for row in rows[3:]] == [None, 0, 1]


async def test_a_varying_column_may_stand_anywhere(connection: asyncpg.Connection) -> None:
    columns = {"word": FULL["word"], "raw": FULL["raw"], "small": FULL["small"]}

    await copy_in(connection, Rows(KINDS, 3, columns))

    rows = await connection.fetch("SELECT word, raw, small FROM kinds")
    assert [tuple(row) for row in rows] == list(
        zip(FULL["word"], FULL["raw"], [-1, 0, 1], strict=True)
    )


async def test_fixed_columns_are_decoded_without_loss(connection: asyncpg.Connection) -> None:
    await copy_in(connection, Rows(KINDS, 3, FULL))

    data = await copy_out(connection, "SELECT number, moment, real, reals FROM kinds")
    fields = (("number", "i4"), ("moment", "i8"), ("real", "f8"), ("reals", ("f8", (2,))))
    found = decode(data, fields)

    assert found["number"].tolist() == [7, 7, 7]
    assert found["moment"][1] == 0
    assert found["real"].tobytes() == FULL["real"].tobytes()
    assert found["reals"].tobytes() == FULL["reals"].tobytes()
    with pytest.raises(ValueError, match="are not rows of"):
        decode(data, fields[:2])


def test_rows_can_be_taken_and_described() -> None:
    rows = Rows(KINDS, 3, HOLES).take(np.array([1]))

    assert (
        rows.encode() == Rows(KINDS, 3, HOLES).take(np.array([0, 1])).take(np.array([1])).encode()
    )
    assert rows.describe(0)["word"] is None
    assert Rows(KINDS, 3, FULL).describe(2)["raw"] == "6162630000"


def test_joined_batches_are_encoded_as_the_batches_one_after_another() -> None:
    moment = datetime(2025, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)
    batches = [
        Rows(
            ml_predictions,
            2,
            {
                "instrument_id": np.array([number, number + 1]),
                "horizon": 4,
                "as_of": moment + number * timedelta(hours=1),
                "made_at": moment,
                "model": f"model {number}",
                "version": ["a", "b"],
                "p_up": np.array([0.5, np.nan]),
                "members": None if number else b"{}",
            },
        )
        for number in range(3)
    ]

    assert joined(batches).encode() == b"".join(batch.encode() for batch in batches)
