"""A freqtrade strategy that trades on predictions of an AlphaPulse server.

    pip install './client[pandas]'           # into freqtrade's environment
    freqtrade trade --strategy AlphaPulseStrategy --strategy-path examples/freqtrade

In freqtrade's configuration, all of it optional:

    "alphapulse": {"url": "http://127.0.0.1:8000", "exchange": "binance", "horizon": 4}

A key, where the server wants one, is taken from ALPHAPULSE_KEY. The exchange is freqtrade's own
unless it is named here (`simulated` for the demo's market); the server has to watch the pairs.

freqtrade acts on the row of a candle at the open of the next one, in a backtest and live. So that
candle is the one that must open at or after a prediction was made: what is said of a close is acted
on one candle later, and a backtest cannot know more than the bot did. Who wants to act within the
second follows the stream, as `examples/bot.py` does.

Where the server cannot be read, the error goes to freqtrade, which gives no signal for that pair.

Its reading, joining and rules are tested against a served API with a stand-in for `IStrategy`
(`tests/integration/client/test_example_freqtrade.py`). freqtrade itself is no part of the tests;
2026.9 ran it once by hand, in a backtest of 30 candles. Dry and live it was not run.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pandas as pd
from freqtrade.strategy import IStrategy

from alphapulse_client import Client, join_predictions

HARMLESS = {"no_skill.quantiles", "no_skill.volatility"}  # the odds of direction do not use them


class AlphaPulseStrategy(IStrategy):  # type: ignore[misc]  # freqtrade is not installed here
    """Long where the odds of rising lead by `lead`, until they no longer do."""

    INTERFACE_VERSION = 3
    timeframe = "1h"
    can_short = False
    process_only_new_candles = True
    startup_candle_count = 1
    minimal_roi = {"0": 100.0}  # no target: the odds say when to leave
    stoploss = -0.05
    lead = 0.05  # p_up − p_down

    def populate_indicators(
        self, dataframe: pd.DataFrame, metadata: dict[str, Any]
    ) -> pd.DataFrame:
        """Put each prediction beside the row that is acted on first after it was made."""
        step = pd.Timedelta(self.timeframe.replace("m", "min"))
        rows = dataframe.assign(acts_at=dataframe["date"] + step)
        said = asyncio.run(self.predictions(metadata["pair"], dataframe["date"].min()))
        return join_predictions(rows, said, open_time="acts_at")

    def populate_entry_trend(
        self, dataframe: pd.DataFrame, metadata: dict[str, Any]
    ) -> pd.DataFrame:
        """Enter where what is said can be relied on, and leads."""
        leads = self.reliable(dataframe) & (dataframe["p_up"] - dataframe["p_down"] > self.lead)
        dataframe.loc[leads & (dataframe["volume"] > 0), ["enter_long", "enter_tag"]] = (1, "odds")
        return dataframe

    def populate_exit_trend(
        self, dataframe: pd.DataFrame, metadata: dict[str, Any]
    ) -> pd.DataFrame:
        """Leave where the odds no longer lead, or nothing is known."""
        leads = self.reliable(dataframe) & (dataframe["p_up"] > dataframe["p_down"])
        dataframe.loc[~leads, ["exit_long", "exit_tag"]] = (1, "odds")
        return dataframe

    async def predictions(self, pair: str, start: pd.Timestamp) -> pd.DataFrame:
        """What the server says of a pair, from a time on.

        Raises:
            ClientError: it cannot be read.
        """
        told = self.config.get("alphapulse", {})
        url = told.get("url", "http://127.0.0.1:8000")
        async with Client(url, os.environ.get("ALPHAPULSE_KEY")) as client:
            return await client.frame(
                "predictions",
                exchange=told.get("exchange", self.config["exchange"]["name"]),
                symbol=pair,
                timeframe=self.timeframe,
                horizon=told.get("horizon", 4),
                start=start.to_pydatetime(),
            )

    @staticmethod
    def reliable(dataframe: pd.DataFrame) -> pd.Series[bool]:
        """Whether a row has a prediction in time, and no code speaks against its direction."""
        codes = dataframe["degraded"].fillna("none").str.split(",")
        sound = codes.map(lambda found: {*found} - {""} <= HARMLESS)
        return sound & (dataframe["origin"] == "live")
