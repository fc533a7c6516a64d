"""A recorded day through one process, and through six with a broker between: the same tables."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.store import database
from tests.apart import Apart
from tests.kafka.broker import Broker
from tests.processes import Exchange, environment, running_system, until

pytestmark = pytest.mark.kafka

DAY = datetime(2025, 6, 3, tzinfo=UTC)
END = DAY + timedelta(days=1)
BEFORE = timedelta(hours=6)  # of market time, in which the processes start
SPEED = 900
FLAGS = ("--symbols", "BTC/USDT,ETH/USDT", "--timeframes", "5m,15m,1h", "--horizons", "4")
SETTINGS = {
    "ALPHAPULSE_BUILD__ROLLED_UP": "15m,1h",
    "ALPHAPULSE_HISTORY_BARS": "1000",  # all that the exchange has
    "ALPHAPULSE_DEADLINE_MS": "10000",  # a loaded machine draws the same cross-sections
    "ALPHAPULSE_TRAINING__MINIMUM_ROWS": "1000000",  # fits end when they end
}
ANSWERED = """
SELECT count(DISTINCT (instrument_id, timeframe)) FROM ml_predictions
WHERE role = 'champion' AND as_of = $1
"""
SERIES = 6
# What is the same whatever process made it, and whenever: all but moments and numbers of rows.
TABLES = {
    "candles": """
        SELECT symbol, timeframe, open_time, open, high, low, close, volume, revision
        FROM candles JOIN instruments USING (instrument_id)
        WHERE close_time > $1 AND close_time <= $2 ORDER BY 1, 2, 3""",
    "features": """
        SELECT symbol, timeframe, as_of, revision, coverage, values
        FROM ml_features_ohlcv JOIN instruments USING (instrument_id)
        WHERE as_of > $1 AND as_of <= $2 ORDER BY 1, 2, 3, 4""",
    "labels": """
        SELECT symbol, timeframe, horizon, as_of, revision, void, outcome, weight, log_return,
            realized_volatility
        FROM ml_labels JOIN instruments USING (instrument_id)
        WHERE as_of > $1 AND as_of + horizon * interval '1 hour' <= $2 ORDER BY 1, 2, 3, 4, 5""",
    "served predictions": """
        SELECT symbol, timeframe, horizon, as_of, revision, origin, degraded, p_up, p_flat, p_down,
            q10, q50, q90, volatility
        FROM ml_predictions JOIN instruments USING (instrument_id)
        WHERE role = 'champion' AND as_of > $1 AND as_of <= $2 ORDER BY 1, 2, 3, 4, 5""",
    "signals": """
        SELECT symbol, timeframe, horizon, as_of, revision, side, gate, strength
        FROM trading_signals JOIN instruments USING (instrument_id)
        WHERE as_of > $1 AND as_of <= $2 ORDER BY 1, 2, 3, 4, 5""",
}


@contextmanager
def playing(data: Path) -> Iterator[Exchange]:
    """The recorded day and the hours before it, always from the same moment."""
    module = ("-m", "collectors.simulated", "--data", str(data), "--exchange", "binance")
    flags = ("--symbols", "BTC/USDT,ETH/USDT", "--timeframe", "5m", "--history", "900")
    times = ("--from", (DAY - BEFORE).isoformat(), "--to", (END + timedelta(hours=3)).isoformat())
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *module, *flags, *times, "--speed", str(SPEED), "--port", "0"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            url = f"http://127.0.0.1:{port}"
            yield Exchange(process=process, url=url, second=timedelta(seconds=SPEED))
        finally:
            process.kill()


def test_a_recorded_day_gives_the_same_tables(
    own: Broker, tmp_path: Path, database_url: str, shared_data: Path
) -> None:
    one, six = tmp_path / "one", tmp_path / "six"
    for folder in (one, six):
        folder.mkdir()
    with playing(shared_data / "ohlcv") as exchange:
        settings = exchange.settings() | SETTINGS
        flags = ("--exchange", "binance", *FLAGS)
        with running_system(one, "run", *flags, **settings) as system:
            system.wait_until_ready()
            answered(system.database_url())
            alone = tables(system.database_url())
            assert system.stop() == 0
    with playing(shared_data / "ohlcv") as exchange, ExitStack() as stack:
        apart = Apart(
            folder=six,
            exchange=exchange,
            database_url=database_url,
            broker=own.address,
            flags=FLAGS,
            settings=SETTINGS,
        )
        rooms = ("collectors", "panels", "panels", "panels", "api", "api")
        for number, room in enumerate(rooms):
            stack.enter_context(apart.process(f"{room}{number}", room))
        answered(database_url)
        holders = set(apart.holders().values())
        together = tables(database_url)

    assert len(holders) == 3
    for name, rows in alone.items():
        assert len(rows) > 100, name
        assert together[name] == rows, name


def answered(url: str) -> None:
    """Wait for the last close of the day at every timeframe, and for what follows it."""
    within_s = 3 * (BEFORE + timedelta(days=1)).total_seconds() / SPEED
    until(
        lambda: fetch(url, ANSWERED, END) == [(SERIES,)],
        "the last close of the day",
        within_s=within_s,
    )


def tables(url: str) -> dict[str, list[tuple[Any, ...]]]:
    return {name: fetch(url, question, DAY, END) for name, question in TABLES.items()}


def fetch(url: str, question: str, *values: datetime) -> list[tuple[Any, ...]]:
    async def answer() -> list[tuple[Any, ...]]:
        connection = await database.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(question, *values)]
        finally:
            await connection.close()

    return asyncio.run(answer())
