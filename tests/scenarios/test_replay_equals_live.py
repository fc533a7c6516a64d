"""The same recorded hours through the demo at speed and through replay say the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from backend.demo import DemoPlan, run_demo
from backend.replay import Replay, ReplayPlan
from backend.settings import Settings, TrainingSettings
from backend.store.columns import CandleSeries
from backend.store.database import create_database
from backend.store.embedded import EmbeddedPostgres
from backend.wiring import open_store
from domain.market import Instrument, from_ms
from tests.scenarios.market import H1, HORIZON, planted

HISTORY, LIVE = 300, 60
NO_FITS = TrainingSettings(minimum_rows=10_000_000)
FEATURES = """
SELECT symbol, as_of, row_hash FROM ml_features_ohlcv JOIN instruments USING (instrument_id)
WHERE as_of > $1 ORDER BY 1, 2
"""
PREDICTIONS = """
SELECT symbol, as_of, p_down, p_up, q10, q50, q90, volatility, degraded
FROM ml_predictions JOIN instruments USING (instrument_id)
WHERE as_of > $1 AND role = 'champion' AND origin = 'live' ORDER BY 1, 2
"""


def write(folder: Path, series: list[CandleSeries]) -> None:
    folder.mkdir()
    for one in series:
        columns = ("open", "high", "low", "close", "volume")
        table = {"timestamp": one.open_ms, **{name: getattr(one, name) for name in columns}}
        name = one.instrument.symbol.replace("/", "-")
        pyarrow.parquet.write_table(pa.table(table), folder / f"binance_{name}_1h.parquet")


def named(series: list[CandleSeries], exchange: str) -> list[CandleSeries]:
    return [
        CandleSeries(
            instrument=Instrument(exchange, one.instrument.symbol),
            **{
                name: getattr(one, name)
                for name in ("open_ms", "open", "high", "low", "close", "volume", "revision")
            },
        )
        for one in series
    ]


async def fetch(url: str, query: str, since: Any) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    rows = [tuple(row) for row in await connection.fetch(query, since)]
    await connection.close()
    return rows


def test_what_the_demo_says_live_is_what_a_replay_says(tmp_path: Path) -> None:
    series = planted(HISTORY + LIVE)
    write(tmp_path / "data", series)
    began = from_ms(int(series[0].open_ms[HISTORY]))
    settings = Settings(state=tmp_path / "state", port=0, history_bars=HISTORY, training=NO_FITS)
    demo = DemoPlan(
        data=tmp_path / "data",
        exchange=None,
        symbols=None,
        timeframes=["1h"],
        horizons=[HORIZON],
        since=None,
        until=None,
        speed=7_200.0,
        seed=7,
        signal=1.0,
        stop_after=timedelta(seconds=15),
    )
    asyncio.run(run_demo(demo, settings))

    replay = ReplayPlan(
        data=tmp_path / "data",
        exchange=None,
        symbols=None,
        timeframe="1h",
        horizon=HORIZON,
        since=began,
        until=None,
        seed=7,
        report=tmp_path / "report.json",
        out=None,
    )

    async def compare() -> None:
        with EmbeddedPostgres(tmp_path / "state") as url:
            other = await create_database(url, "replayed")
            async with open_store(other, tmp_path / "artifacts", durable=False) as store:
                await Replay(replay, settings, store, H1).run(named(series, "simulated-binance"))
            lived = await fetch(url, FEATURES, began)
            said = await fetch(url, PREDICTIONS, began)
            again = await fetch(other, FEATURES, began)
            repeated = {row[:2]: row for row in await fetch(other, PREDICTIONS, began)}

        assert len(lived) >= 4 * 10
        assert set(lived) <= set(again)
        assert len(said) >= 4 * 10
        for row in said:
            ours, theirs = np.array(row[2:8], float), np.array(repeated[row[:2]][2:8], float)
            assert np.allclose(ours, theirs, rtol=0, atol=1e-9, equal_nan=True), row[:2]
            assert row[8] == repeated[row[:2]][8]

    asyncio.run(compare())
