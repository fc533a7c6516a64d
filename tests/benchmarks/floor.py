"""What the same tick costs by hand: kernel, one booster, 500 rows of JSON, a bare COPY."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg
import numpy as np
import orjson

from backend.store import database
from backend.store.copy import HEADER, TRAILER
from domain.events import Floats
from domain.ports import Model
from tests.benchmarks.market import scene
from tests.benchmarks.measure import Row, p50, p99

ROUNDS = 60
INSTRUMENTS = 500
FLOATS = 6

TABLE = """
CREATE TABLE IF NOT EXISTS floor_rows
(series_id int, ts timestamptz, a float8, b float8, c float8, d float8, e float8, f float8,
 PRIMARY KEY (series_id, ts))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Milliseconds of one tick by hand, two durable COPYs of its rows included."""

    p50: float
    p99: float
    copy_rows_per_s: float

    def rows(self) -> list[Row]:
        head = "hand floor of 500: kernel, one booster, JSON, two COPYs"
        return [
            Row(name=f"{head} p50", value=self.p50, unit="ms"),
            Row(name=f"{head} p99", value=self.p99, unit="ms"),
        ]


async def measure_floor(server: str, model: Model) -> Floor:
    """The parts of a tick with nothing around them, on a plain table with an integer key."""
    warm = scene(INSTRUMENTS, ROUNDS, [])
    connection = await database.connect(server)
    took, copies = [], []
    try:
        await connection.execute("DROP TABLE IF EXISTS floor_rows")
        await connection.execute(TABLE)
        for number, batch in enumerate(warm.ticks):
            began = time.perf_counter()
            values = model.predict(warm.panel.engine.on_candles(batch))
            orjson.dumps([
                {"symbol": one.symbol, "p": row}
                for one, row in zip(batch.instruments, values.tolist(), strict=True)
            ])  # fmt: skip
            computed = time.perf_counter()
            for half in (0, 1):
                await copy_plain(connection, values.repeat(2, axis=1), 2 * number + half)
            ended = time.perf_counter()
            took.append((ended - began) * 1e3)
            copies.append(ended - computed)
    finally:
        await connection.execute("DROP TABLE IF EXISTS floor_rows")
        await connection.close()
    return Floor(
        p50=p50(took[5:]),
        p99=p99(took[5:]),
        copy_rows_per_s=2 * INSTRUMENTS / p50(copies[5:]),
    )


async def copy_plain(connection: asyncpg.Connection, values: Floats, moment: int) -> None:
    """Rows of an integer, a time and six floats, as one COPY that commits."""
    await connection.copy_to_table(
        "floor_rows", source=memoryview(_encode(values, moment)), format="binary"
    )


def _encode(values: Floats, moment: int) -> bytes:
    count = len(values)
    fields = [("n", ">i2"), ("l0", ">i4"), ("series", ">i4"), ("l1", ">i4"), ("ts", ">i8")]
    fields += [field for n in range(FLOATS) for field in ((f"m{n}", ">i4"), (f"v{n}", ">f8"))]
    rows = np.empty(count, np.dtype(fields))
    rows["n"], rows["l0"], rows["l1"] = 2 + FLOATS, 4, 8
    rows["series"], rows["ts"] = np.arange(count), moment
    for n in range(FLOATS):
        rows[f"m{n}"], rows[f"v{n}"] = struct.calcsize("d"), values[:, n]
    return b"".join((HEADER, rows.tobytes(), TRAILER))


def microseconds(work: Callable[[], object], rounds: int) -> list[float]:
    """How long each of `rounds` calls took."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1e6)
    return took
