"""Sources on payloads that were recorded: what they say is what the recorded series say."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from collectors.sources import fear_greed
from collectors.sources.ccxt_metrics import CcxtDerivatives
from collectors.sources.session import open_session
from domain.sources import MARKET, Metric
from tests.doubles import START, ManualClock
from tests.source_site import site
from tests.source_subjects import BTC, MARKETS, as_json

KNOWN_MS = 1_745_300_000_000  # 22 April 2025, when the index was recorded


def test_the_recorded_index_is_the_one_of_the_recorded_series(shared_data: Path) -> None:
    body = (shared_data / "rest/alternative_me_fng_2025-04-22.json").read_bytes()
    table = pq.read_table(shared_data / "sentiment/fear_greed_daily.parquet").to_pydict()
    series = dict(zip(table["timestamp"], table["value"], strict=True))

    answer = fear_greed.parse(body, KNOWN_MS)

    days = {one.event_ms: one.value for one in answer.measurements}
    assert answer.refused == ()
    assert len(days) == len(json.loads(body)["data"]) > 25
    assert {one.instrument for one in answer.measurements} == {MARKET}
    common = {moment: value for moment, value in days.items() if moment in series}
    assert len(common) > 25
    assert common == {moment: series[moment] for moment in common}


@pytest.mark.parametrize(
    ("metric", "path", "name", "expected"),
    [
        (Metric.FUNDING_RATE, "/fapi/v1/premiumIndex", "premium_index", 0.00038246),
        (Metric.OPEN_INTEREST, "/fapi/v1/openInterest", "open_interest", 10659.509),
        (
            Metric.LONG_SHORT_RATIO,
            "/futures/data/globalLongShortAccountRatio",
            "global_long_short_account_ratio",
            1.9559,  # the newer of two
        ),
    ],
)
async def test_recorded_answers_of_an_exchange_are_measurements(
    metric: Metric, path: str, name: str, expected: float, shared_data: Path
) -> None:
    bundle = json.loads((shared_data / "rest/binance_small_payloads_bundle.json").read_bytes())
    recorded = bundle[f"http_futures_market_{name}"]
    body = as_json([recorded] if metric is Metric.FUNDING_RATE else recorded)

    async with site() as exchange, open_session() as session:
        exchange.answers = {**MARKETS, path: body}
        derivatives = CcxtDerivatives(
            "binanceusdm", session=session, rest_url=exchange.address(), rate_limited=False
        )
        answer = await derivatives.source(metric, lambda: [BTC], ManualClock(START)).poll()
        await derivatives.close()

    (one,) = answer.measurements
    assert answer.refused == ()
    assert (one.instrument, one.metric) == (BTC, metric)
    assert one.value == expected
