"""The writer beside a bare COPY, both durable, in the same run."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from backend.store import database
from backend.store.merge import append, merge
from backend.store.rows import LABEL_ANSWERS, LABEL_GUARD, label_rows
from domain.events import CandleBatch, Floats, LabelBatch
from domain.market import to_ms
from tests.benchmarks.floor import TABLE, copy_plain
from tests.benchmarks.market import EXCHANGE, HORIZON, batches, instruments
from tests.benchmarks.measure import Row, Size, p50
from tests.benchmarks.serving import Served, served

COUNT = 500
TABLES_OF_A_CANDLE = 2  # its row, and its event in the log with the head that it moves


async def writer(server: str, folder: Path, size: Size) -> list[Row]:
    """Rows a second: labels into a table, candles through the whole writer, a bare COPY."""
    async with served(server, folder) as behind:
        floor = await _bare_copy(server, size)
        upserted = await _labels(behind, size, again=True)
        copied = await _labels(behind, size, again=False)
        told = await _candles(behind, size)
    beside: dict[str, Any] = {"baseline": floor, "baseline_name": "bare COPY", "unit": "rows/s"}
    half: dict[str, Any] = {"target": floor / 2, "most": False}
    return [
        Row(name="bare COPY of 500 narrow rows, durable", value=floor, unit="rows/s"),
        Row(name="label rows, copied as new, durable", value=copied, **beside, **half),
        Row(name="label rows, merged over stored ones, durable", value=upserted, **beside),
        Row(
            name="candles through the whole writer: row, event, head, hash; durable",
            value=told * TABLES_OF_A_CANDLE,
            **beside,
            **half,
            detail={"candles/s": told},
        ),
    ]


async def _bare_copy(server: str, size: Size) -> float:
    connection = await database.connect(server)
    rng = np.random.default_rng(7)
    took = []
    try:
        await connection.execute(TABLE)
        for moment in range(size.store_ticks):
            values: Floats = rng.normal(size=(COUNT, 6))
            began = time.perf_counter()
            await copy_plain(connection, values, 10_000 + moment)
            took.append(time.perf_counter() - began)
        await connection.execute("DROP TABLE floor_rows")
    finally:
        await connection.close()
    return COUNT / p50(took)


async def _labels(behind: Served, size: Size, *, again: bool) -> float:
    """`again`: every row exists already and changes."""
    ids = await behind.store.instruments.ids(instruments(COUNT))
    took = []
    first = 1_000 if again else 0
    for number, batch in enumerate(batches(COUNT, size.store_ticks)):
        rows = label_rows(_labelled(batch, shift=first + number), ids)
        async with behind.store.writers.acquire() as connection:
            if again:
                await append(connection, [label_rows(_labelled(batch, first + number, 1.0), ids)])
            began = time.perf_counter()
            async with connection.transaction():
                if again:
                    await merge(connection, rows, answers=LABEL_ANSWERS, guard=LABEL_GUARD)
                else:
                    await append(connection, [rows])
            took.append(time.perf_counter() - began)
    return COUNT / p50(took)


async def _candles(behind: Served, size: Size) -> float:
    took = []
    for batch in batches(COUNT, size.store_ticks):
        began = time.perf_counter()
        await behind.store.recorder.commit_tick([batch], published_at=batch.as_of)
        took.append(time.perf_counter() - began)
    return COUNT / p50(took)


def _labelled(batch: CandleBatch, shift: int, outcome: float = 0.0) -> LabelBatch:
    n = len(batch)
    moment = to_ms(batch.as_of) + shift * 1_000 * batch.timeframe.ms
    known = to_ms(batch.as_of + timedelta(hours=HORIZON)) + shift * 1_000 * batch.timeframe.ms
    return LabelBatch(
        exchange=EXCHANGE,
        timeframe=batch.timeframe,
        horizon=HORIZON,
        instruments=batch.instruments,
        as_of_ms=np.full(n, moment),
        revision=np.ones(n, dtype=np.int64),
        direction_known_ms=np.full(n, known),
        known_ms=np.full(n, known),
        outcome=np.full(n, outcome),
        weight=np.ones(n),
        log_return=np.linspace(-0.1, 0.1, n),
        realized_volatility=np.full(n, 0.01),
        uniqueness=np.full(n, 0.25),
    )
