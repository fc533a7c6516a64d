"""What `init` says that a choice will take follows from the trainer's and the gate's rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backend.init import Chosen, prospects
from backend.outlook import outlook
from backend.settings import Settings
from backend.training_settings import TrainingSettings
from collectors.allowance import allowance
from domain.errors import UnknownExchangeError, UnknownTimeframeError
from domain.market import Horizon, Timeframe

START = datetime(2024, 3, 24, 7, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
H1x4 = Horizon(Timeframe.H1, 4)
TRAINING = TrainingSettings()


def test_the_moments_are_those_of_a_system_that_ran() -> None:
    # A demo of four instruments went live at this time: `no_skill.volatility` and
    # `no_skill.quantiles` were last said at 2024-03-27T20:00, without a fitted model.
    found = outlook(H1x4, start=START, bars=2_000, instruments=4, training=TRAINING)

    assert found.first == datetime(2024, 3, 24, 8, tzinfo=UTC)
    assert found.fit == found.first
    assert found.begun == datetime(2024, 3, 24, 21, tzinfo=UTC)
    assert found.lived == datetime(2024, 3, 27, 21, tzinfo=UTC)


def test_a_short_history_delays_the_first_fit_and_the_verdict_after_it() -> None:
    found = outlook(H1x4, start=START, bars=204, instruments=4, training=TRAINING)

    assert found.fit - found.first == 50 * HOUR  # 4 × (204 − 4 + 50) rows
    assert found.begun == datetime(2024, 3, 26, 13, tzinfo=UTC)  # the verdict after the fit
    assert found.lived == datetime(2024, 3, 27, 21, tzinfo=UTC)


def test_a_block_of_which_less_than_half_is_lived_does_not_count() -> None:
    lived = [
        outlook(H1x4, start=START + n * HOUR, bars=2_000, instruments=4, training=TRAINING).lived
        for n in (4, 5)
    ]
    assert lived[1] - lived[0] == 8 * HOUR


@pytest.mark.parametrize(
    ("exchange", "symbol", "page", "milliseconds", "requests"),
    [
        ("binance", "BTC/USDT", 1_000, 20, 2),
        ("kraken", "BTC/USD", 720, 1_200, 4),
        ("okx", "BTC/USDT:USDT", 300, 110, 8),
    ],
)
async def test_pages_and_pace_are_those_that_ccxt_describes(
    exchange: str, symbol: str, page: int, milliseconds: int, requests: int
) -> None:
    found = await allowance(exchange, symbol)

    assert (found.page, found.cost) == (page, timedelta(milliseconds=milliseconds))
    assert found.requests(2_000) == requests


async def test_what_an_exchange_does_not_have_is_refused_with_what_it_has() -> None:
    with pytest.raises(UnknownExchangeError, match="nearest: binance"):
        await allowance("binanse", "BTC/USDT")
    with pytest.raises(UnknownTimeframeError, match=r"'3m'; nearest: .*1m"):
        await allowance("kraken", "BTC/USD", [Timeframe.M3])


async def test_what_a_budget_cannot_serve_at_each_close_is_said_before_it_is_tried() -> None:
    watch = {"exchanges": ["coinbase"], "symbols": ["BTC/USD"], "timeframes": ["1m"]}
    settings = Settings.model_validate({"watch": watch})
    allowed = {"coinbase": await allowance("coinbase", "BTC/USD", [Timeframe.M1])}

    def said(settings: Settings) -> list[str]:
        chosen = Chosen(settings=settings, allowances=allowed, instruments={"coinbase": 600})
        return [line for line in prospects(chosen, START) if "streams no candles" in line]

    (line,) = said(settings)
    assert "588 requests a minute, 600 would be needed" in line
    assert said(Settings.model_validate({"watch": watch, "build": {"from_trades": True}})) == []


async def test_an_exchange_that_serves_less_is_named_with_what_it_can() -> None:
    settings = Settings.model_validate(
        {"watch": {"exchanges": ["kraken"], "symbols": ["BTC/USD", "ETH/USD"]}}
    )
    chosen = Chosen(
        settings=settings,
        allowances={"kraken": await allowance("kraken", "BTC/USD")},
        instruments={"kraken": 2},
    )

    lines = list(prospects(chosen, START))

    assert lines[0].startswith("kraken: the backfill asks 8 times for at most 720 candles")
    assert lines[1].startswith("kraken serves the newest 720 candles of a series, not 2000")
    assert "1440 candles of" in lines[2]
    assert lines[3].startswith("kraken 1h, 4 candles ahead: first prediction 2024-03-24T08:00Z")
