"""Recorded sources, and both passes of a replay side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphapulse_testing.panel import panel_batch
from backend.added import added, as_told, forecasters
from backend.report import Losses
from collectors.recorded_sources import RecordedSources, read_sources
from domain.errors import DataFolderError
from domain.events import FeatureBatch, Target
from domain.market import Horizon, Instrument, Timeframe, from_ms
from domain.sources import MARKET, Metric
from services.models.catalogue import BUILT_IN

HOUR = 3_600_000
DAY = 24 * HOUR
BTC = Instrument("binance", "BTC/USDT")
TARGETS = forecasters(BUILT_IN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def write(name: str, **columns: Sequence[object]) -> None:
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")

    headlines = ["Bitcoin soars on great demand", "Bitcoin soars on great demand", "Rain"]
    write(
        "news_2024",
        timestamp=[11 * DAY, 10 * DAY, 12 * DAY],
        headline=headlines,
        description=["", "", ""],
    )
    write("fear_greed_daily", timestamp=[10 * DAY, 11 * DAY], value=[30, 60])
    write(
        "funding_rates_binanceusdm", timestamp=[10 * DAY], symbol=["BTC-USDT"], funding_rate=[1e-4]
    )
    write("comments_labelled", text=["no source"])
    return tmp_path


def test_a_recording_is_known_a_while_after_it_was_so(folder: Path) -> None:
    recorded = read_sources(folder)

    first, second = recorded.items
    assert (first.published_ms, first.known_ms) == (10 * DAY, 10 * DAY + HOUR // 4)
    assert second.title == "Rain"
    facts = [(one.instrument, one.metric, one.known_ms) for one in recorded.measurements]
    perpetual = Instrument("binanceusdm", "BTC/USDT:USDT")
    assert facts == [
        (perpetual, Metric.FUNDING_RATE, 10 * DAY + HOUR // 60),
        (MARKET, Metric.FEAR_GREED, 10 * DAY + 6 * HOUR),
        (MARKET, Metric.FEAR_GREED, 11 * DAY + 6 * HOUR),
    ]


def test_a_folder_without_recorded_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="funding_rates_"):
        read_sources(tmp_path)
    pq.write_table(pa.table({"timestamp": [1]}), tmp_path / "fear_greed_daily.parquet")
    with pytest.raises(DataFolderError, match="no column value"):
        read_sources(tmp_path)


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [
        ("fear_greed_x", {"timestamp": [DAY, DAY], "value": [1.0, nan]}, "row 2: value: .*finite"),
        ("fear_greed_x", {"timestamp": [DAY], "value": ["high"]}, "row 1: value: .*finite number"),
        ("fear_greed_x", {"timestamp": [10**18], "value": [1]}, "row 1: timestamp: "),
        ("fear_greed_x", {"timestamp": ["soon"], "value": [1]}, "timestamp: .*whole number"),
        ("news_x", {"timestamp": [DAY], "title": [5]}, "row 1: title: .*valid string"),
        (
            "funding_rates_x",
            {"timestamp": [DAY], "symbol": [5], "funding_rate": [0.1]},
            "row 1: symbol: .*valid string",
        ),
    ],
)
def test_a_row_that_is_no_fact_is_named(
    tmp_path: Path, name: str, columns: dict[str, Sequence[object]], said: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")

    with pytest.raises(DataFolderError, match=rf"{name}\.parquet: .*{said}"):
        read_sources(tmp_path)


def test_a_source_is_off_before_and_after_its_recording(folder: Path) -> None:
    told = as_told(read_sources(folder), [BTC.base])

    def at(moment: int) -> FeatureBatch:
        batch = panel_batch(np.zeros((1, 1)), hour=0, instruments=[BTC])
        return told.beside(
            FeatureBatch(
                exchange=batch.exchange,
                timeframe=batch.timeframe,
                as_of=from_ms(moment),
                instruments=batch.instruments,
                feature_set=batch.feature_set,
                values=batch.values,
                coverage=batch.coverage,
                revision=batch.revision,
                candle_revision=batch.candle_revision,
                known_at=from_ms(moment),
            )
        )

    states = {}
    for name, moment in {"before": 9 * DAY, "during": 11 * DAY, "after": 13 * DAY}.items():
        batch = at(moment).told
        assert batch is not None
        states[name] = set(batch.status.values())
    assert states == {"before": {"off"}, "during": {"ok", "off"}, "after": {"off"}}
    during = at(11 * DAY).told
    assert during is not None
    values = dict(zip(during.feature_set.columns, during.values[0], strict=True))
    assert (values["fear_greed"], values["fear_greed_age_s"]) == (30, 24 * 3600)
    assert values["news_count"] == 1
    assert values["news_score"] > 0


def losses(rng: np.random.Generator, scale: float) -> dict[str, Losses]:
    """Sixty days of two instruments, hourly."""
    as_of_ms = np.repeat(HOUR * np.arange(60 * 24), 2)
    instrument = np.tile([0, 1], 60 * 24)
    loss = scale * rng.uniform(0.9, 1.1, len(as_of_ms))
    columns = dict.fromkeys(("log_loss", "pinball", "qlike"), loss)
    found = Losses(
        key=as_of_ms * 1_000 + instrument,
        as_of_ms=as_of_ms,
        instrument=instrument,
        columns=columns,
    )
    empty: np.ndarray[tuple[int], np.dtype[np.int64]] = np.empty(0, dtype=np.int64)
    nothing = Losses(
        key=empty, as_of_ms=empty, instrument=empty, columns={name: np.empty(0) for name in columns}
    )
    return {name: nothing if name == "catboost.volatility" else found for name in TARGETS}


def test_the_report_lays_both_passes_side_by_side(folder: Path) -> None:
    recorded: RecordedSources = read_sources(folder)
    without = losses(np.random.default_rng(1), 1.0)
    with_it = losses(np.random.default_rng(2), 0.9)

    span = Horizon(Timeframe.H1, 4)
    section = added(with_it, without, recorded, targets=TARGETS, span=span, seed=7)

    pool = section["added"][f"pool.{Target.VOLATILITY}"]
    low, high = pool["interval95"]
    assert low < pool["share"] < high
    assert pool["share"] == pytest.approx(0.1, abs=0.005)
    assert pool["n"] == 2 * 60 * 24
    assert section["with"]["pool.direction"] == pytest.approx(0.9, abs=0.01)
    assert section["without"]["pool.direction"] == pytest.approx(1.0, abs=0.01)
    assert "catboost.volatility" not in section["added"]
    assert set(section["sources"]) == {"news_2024", "fear_greed", "binanceusdm.funding_rate"}
