"""The simulated exchange's trades: those of an interval make its candle exactly."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest

from collectors.recorded import Recording
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import SyntheticMarket
from collectors.simulated.recording import RecordedMarket
from collectors.simulated.tape import Market, Tape
from collectors.simulated.trades import MadeTrade, Trades, first
from collectors.trades import candles_of
from domain.events import Candle
from domain.market import Instrument, Timeframe
from domain.trades import Trade

HOUR = 3_600_000
BTC = Instrument("simulated", "BTC/USDT")
HOURS = [0, 1, 3, 4]  # one is missing
VALUES = [
    [10.0, 14.0, 9.0, 13.0, 3.33333333],
    [13.0, 15.0, 8.0, 9.0, 0.1],
    [9.0, 9.0, 9.0, 9.0, 0.0],  # nobody traded
    [9.0, 9.5, 8.5, 9.1, 1e-8],
]


def recorded() -> RecordedMarket:
    recording = Recording(
        instrument=Instrument("test", "BTC/USDT"),
        timeframe=Timeframe.H1,
        file="test",
        open_ms=np.array(HOURS) * HOUR,
        values=np.array(VALUES),
        rejected=(),
        unsorted=0,
    )
    return RecordedMarket([recording])


def synthetic() -> SyntheticMarket:
    return SyntheticMarket(default_symbols(2), finest=Timeframe.M1)


def as_told(trades: Iterable[MadeTrade]) -> list[Trade]:
    return [
        Trade(
            instrument=BTC,
            trade_id=str(one.number),
            time_ms=one.time_ms,
            price=one.price,
            amount=float(one.amount),
            number=one.number,
        )
        for one in trades
    ]


def values(candle: Candle) -> list[float]:
    return [candle.open, candle.high, candle.low, candle.close, candle.volume]


@pytest.mark.parametrize("timeframe", [Timeframe.M1, Timeframe.H1])
def test_trades_make_the_candles_of_the_synthetic_market(timeframe: Timeframe) -> None:
    market = synthetic()
    start, end = market.start_ms + 30 * HOUR, market.start_ms + 33 * HOUR
    opens, rows = Tape(market).history(1, timeframe, start, end)

    built = candles_of(as_told(Trades(market).between(1, start, end)), timeframe)

    assert [candle.open_ms for candle in built] == opens.tolist()
    assert [values(candle) for candle in built] == rows.tolist()


def test_trades_make_the_recorded_candles_that_somebody_traded_in() -> None:
    trades = as_told(Trades(recorded()).between(0, 0, 9 * HOUR))

    built = candles_of(trades, Timeframe.H1)

    traded = [(hour * HOUR, row) for hour, row in zip(HOURS, VALUES, strict=True) if row[4]]
    assert [(candle.open_ms, values(candle)) for candle in built] == traded
    assert all(trade.amount > 0 for trade in trades)


@pytest.mark.parametrize("market", [recorded(), synthetic()], ids=["recorded", "synthetic"])
def test_numbers_go_on_without_a_gap_and_find_their_trades(market: Market) -> None:
    trades, start = Trades(market), market.start_ms
    end = start + 5 * HOUR
    every = list(trades.between(0, start, end))

    assert [one.number for one in every] == list(range(len(every)))
    assert all(one.time_ms <= two.time_ms for one, two in pairwise(every))
    assert first(trades.since(0, 14, end), 3) == every[14:17]
    assert trades.newest(0, end, 17) == every[-17:]
    assert list(trades.between(0, every[5].time_ms, every[9].time_ms)) == every[5:9]
