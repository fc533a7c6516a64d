"""A writer killed at any moment leaves whole ticks and contiguous streams."""

from __future__ import annotations

import asyncio
import signal as signals
import sys
from pathlib import Path

from backend.store import database
from backend.store.chain import verify

WRITER = """
import asyncio, sys
from backend.store import database
from backend.store.instruments import Instruments
from backend.store.recorder import Recorder
from tests.integration.store_samples import at, candles, features, predictions, signals

async def main(url):
    pool = await database.connect_pool(url, size=1)
    recorder = Recorder(pool, Instruments(pool))
    for number in range(1, 10_000):
        tick = [candles(number), features(number), predictions(number), signals(number)]
        await recorder.commit_tick(tick, published_at=at(number))
        print(number, flush=True)

asyncio.run(main(sys.argv[1]))
"""
COUNTS = """SELECT (SELECT count(*) FROM candles), (SELECT count(*) FROM ml_features_ohlcv),
    (SELECT count(*) FROM ml_predictions), (SELECT count(*) FROM trading_signals),
    (SELECT count(*) / 3 FROM stream_events),
    (SELECT sum(head)::bigint / 3 FROM stream_heads, unnest(offsets) AS head)"""
ROOT = Path(__file__).parents[2]


async def test_a_killed_writer_leaves_whole_ticks_and_contiguous_offsets(
    database_url: str,
) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, database_url, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    lines = [await writer.stdout.readline() for _ in range(12)]
    writer.send_signal(signals.SIGKILL)
    lines += (await writer.stdout.read()).splitlines()
    await writer.wait()
    told = [int(line) for line in lines]

    connection = await database.connect(database_url)
    counts = await connection.fetchrow(COUNTS)
    broken = await verify(connection)
    await connection.close()

    assert len(set(counts)) == 1
    assert counts[0] >= 3 * told[-1]
    assert broken is None
