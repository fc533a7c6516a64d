"""The freqtrade strategy of the examples against a real server, with a stand-in for `IStrategy`.

freqtrade itself is not installed: what is its own (when it calls, how it fills) is not tested here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from alphapulse_client import ProblemError
from domain.events import Origin
from tests.house import ROOT
from tests.keyed import keyed
from tests.served_market import TICKS, ServedMarket, prediction

HOUR = timedelta(hours=1)


class IStrategy:
    """What a strategy has of freqtrade, as its documentation describes it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config


@pytest.fixture
def strategy_type(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's class, built on the stand-in."""
    stand_in = ModuleType("freqtrade.strategy")
    stand_in.IStrategy = IStrategy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "freqtrade", ModuleType("freqtrade"))
    monkeypatch.setitem(sys.modules, "freqtrade.strategy", stand_in)
    path = ROOT / "examples/freqtrade/AlphaPulseStrategy.py"
    spec = importlib.util.spec_from_file_location("example_strategy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.AlphaPulseStrategy


def config(url: str) -> dict[str, Any]:
    return {"exchange": {"name": "binance"}, "alphapulse": {"url": url, "exchange": "simulated"}}


def candles(market: ServedMarket, count: int = TICKS) -> pd.DataFrame:
    """A pair's closed candles as freqtrade has them: `date` is the open time."""
    opens = [batch.as_of - HOUR for batch in market.batches[:count]]
    frame = pd.DataFrame({"date": pd.to_datetime(opens, utc=True)})
    return frame.assign(open=100.0, high=102.0, low=99.0, close=101.0, volume=10.0)


async def advised(strategy: Any, frame: pd.DataFrame, pair: str) -> pd.DataFrame:
    """The rows as freqtrade has them made, outside of any event loop."""

    def make() -> pd.DataFrame:
        of = {"pair": pair}
        told = strategy.populate_indicators(frame.copy(), of)
        told = strategy.populate_entry_trend(told, of)
        made: pd.DataFrame = strategy.populate_exit_trend(told, of)
        return made

    return await asyncio.to_thread(make)


async def test_a_row_is_entered_on_what_was_said_before_it_is_acted_on(
    market: ServedMarket, strategy_type: Any
) -> None:
    frame = candles(market)
    told = await advised(strategy_type(config(market.url)), frame, "ETH/USDT")

    # Each close was spoken of 120 ms later: a row's candle has opened by then, the next has not.
    assert list(told["as_of"].dropna()) == list(frame["date"][1:])
    assert (told["made_at"].dropna() <= told["date"][1:] + HOUR).all()
    assert (told["made_at"].dropna() > told["date"][1:]).all()
    assert list(told["enter_long"].fillna(0)) == [0] + [1] * (TICKS - 1)
    assert list(told["exit_long"].fillna(0)) == [1] + [0] * (TICKS - 1)
    assert list(told[frame.columns].itertuples()) == list(frame.itertuples())


async def test_what_may_not_be_relied_on_is_not_entered(
    market: ServedMarket, strategy_type: Any
) -> None:
    """Of SOL the odds lead as well, and its direction has no proven skill."""
    told = await advised(strategy_type(config(market.url)), candles(market), "SOL/USDT")

    assert (told["p_up"] - told["p_down"]).max() > 0.05
    assert "enter_long" not in told or not told["enter_long"].fillna(0).any()
    assert told["exit_long"].eq(1).all()


async def test_a_prediction_that_was_late_is_not_traded_back_in_time(
    market: ServedMarket, strategy_type: Any
) -> None:
    """The close of tick 9 is spoken of again three hours later, at a better chance."""
    batch = market.batches[9]
    made = batch.as_of + 3 * HOUR
    late = prediction(batch, revision=2)
    late = replace(late, made_at=made, origin=Origin.LATE)
    await market.recorder.commit_tick([late], published_at=made)

    strategy = strategy_type(config(market.url))
    told = await advised(strategy, candles(market), "ETH/USDT")
    then = await advised(strategy, candles(market, 12), "ETH/USDT")

    at: dict[Any, Any] = {row.date: row for row in told.itertuples()}
    assert pd.isna(at[pd.Timestamp(batch.as_of)].as_of)  # a list has the newest revision alone
    assert at[pd.Timestamp(batch.as_of)].exit_long == 1
    assert at[pd.Timestamp(made - HOUR)].as_of == made - HOUR  # the newer close speaks
    pd.testing.assert_frame_equal(told[:12][then.columns], then, check_dtype=False)


async def test_a_refusal_reaches_freqtrade(market: ServedMarket, strategy_type: Any) -> None:
    strategy = strategy_type({"exchange": {"name": "kraken"}, "alphapulse": {"url": market.url}})

    with pytest.raises(ProblemError, match="unknown_exchange"):
        await advised(strategy, candles(market), "ETH/USDT")


async def test_the_key_comes_from_the_environment(
    market_url: str, strategy_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keyed(market_url) as doors:
        key = (await doors.key()).spelt()
        strategy = strategy_type(config(doors.market.url))
        with pytest.raises(ProblemError, match="unauthorized"):
            await advised(strategy, candles(doors.market), "ETH/USDT")
        monkeypatch.setenv("ALPHAPULSE_KEY", key)
        told = await advised(strategy, candles(doors.market), "ETH/USDT")

    assert told["enter_long"].sum() == TICKS - 1
