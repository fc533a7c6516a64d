"""What a replay's report says agrees with itself, and it says what it is of."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.replay import Replay, ReplayPlan
from backend.report import ReportContext, build_report
from backend.settings import Settings
from backend.store import database
from backend.store.columns import CandleSeries
from backend.training_settings import TrainingSettings
from backend.wiring import open_store
from domain.market import from_ms, rfc3339
from tests.scenarios.market import H1, HORIZON, planted

ROOT = Path(__file__).parents[2]
NO_FITS = Settings(training=TrainingSettings(minimum_rows=10_000_000))
NEITHER = ReportContext(run={}, data={}, cost={}, weights={}, cost_bps=20.0, seed=7)
BTC, ETH = planted(800, symbols=("BTC/USDT", "ETH/USDT"))
BEGAN = from_ms(int(BTC.open_ms[30]))
PROVEN = "UPDATE ml_predictions SET degraded = '' WHERE role = 'champion' AND horizon = $1"

Report = dict[str, Any]


@pytest.fixture(scope="module")
def reports(
    server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Report, Report]]:
    """Of a market without a fit; then the same when the served direction counts as proven."""
    plan = ReplayPlan(
        data=Path(),
        exchange=None,
        symbols=None,
        timeframe=H1.value,
        horizon=HORIZON,
        since=BEGAN,
        until=None,
        seed=11,
        report=Path(),
        out=None,
    )

    async def both() -> tuple[Report, Report]:
        url = await database.create_database(server_url, "test_report")
        async with open_store(url, tmp_path_factory.mktemp("artifacts"), durable=False) as store:
            before = await Replay(plan, NO_FITS, store, H1).run([BTC, since(ETH, 317)])
            async with store.writers.acquire() as connection:
                await connection.execute(PROVEN, HORIZON)
                after = await build_report(
                    connection, timeframe=H1, horizon=HORIZON, instruments={}, context=NEITHER
                )
        return before, after

    yield asyncio.run(both())
    asyncio.run(database.drop_database(server_url, "test_report"))


def since(series: CandleSeries, first: int) -> CandleSeries:
    """Without its first candles: its days have fewer rows than those of the other."""
    names = ("open_ms", "open", "high", "low", "close", "volume", "revision")
    return replace(series, **{name: getattr(series, name)[first:] for name in names})


def test_a_skill_is_one_less_the_loss_over_the_baseline_of_the_same_report(
    reports: tuple[Report, Report],
) -> None:
    report, _ = reports
    direction, quantiles = report["direction"], report["quantiles"]
    volatility = report["volatility"]
    known = [loss for loss in volatility["baselines"].values() if loss is not None]

    assert direction["skill"] == 1 - direction["log_loss"] / direction["baseline_log_loss"]
    assert quantiles["skill"] == 1 - quantiles["pinball"] / quantiles["baseline_pinball"]
    assert volatility["skill_over_best"] == 1 - volatility["qlike"] / min(known)
    assert len(known) == 2


def test_the_area_under_the_curve_leaves_out_rows_that_serve_the_prior(
    reports: tuple[Report, Report],
) -> None:
    prior, proven = reports

    assert prior["direction"]["log_loss"] is not None
    assert prior["direction"]["auc"] is None
    assert 0 < proven["direction"]["auc"] < 1


def test_the_skill_of_direction_is_taken_apart_on_the_same_rows(
    reports: tuple[Report, Report],
) -> None:
    report, _ = reports
    direction, scored = report["direction"], report["predictions"]["n_scored"]
    flat, side = direction["flat"], direction["side"]

    assert flat["count"] == scored - report["predictions"]["abstained"] > side["count"] > 0
    assert flat["skill"] == side["skill"] == 0.0  # without a fit the prior is served
    assert report["remarks"] == [
        "No skill of direction is shown: 0.0000, 95 % interval [0.0000, 0.0000].",
        "No signal with a side has ended: nothing can be said of a return.",
    ]
    assert report["signals"]["closed"] == 0
    assert report["signals"]["net_return_interval95"] is None


def test_a_report_says_what_it_is_of(reports: tuple[Report, Report]) -> None:
    report, _ = reports
    released = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert report["run"] == {
        "exchange": "simulated",
        "timeframe": "1h",
        "horizon": HORIZON,
        "seed": 11,
        "symbols": ["BTC/USDT", "ETH/USDT"],
        "from": BEGAN.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "version": released,
    }


def test_a_report_lays_the_paper_account_beside_holding_and_nothing(
    reports: tuple[Report, Report],
) -> None:
    report, _ = reports
    account, last = report["ledger"], BTC.open_ms[-1] + H1.ms

    assert (account["from"], account["as_of"]) == (rfc3339(BEGAN), rfc3339(from_ms(int(last))))
    assert (account["trades"], account["equity"]) == (0, account["capital"])  # all signals are flat
    assert account["benchmarks"]["flat"]["return"] == account["max_drawdown"] == 0.0
    assert account["benchmarks"]["buy_and_hold"]["max_drawdown"] > 0
