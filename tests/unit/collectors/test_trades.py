"""Trades become candles: of recorded ones exactly those that were recorded beside them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from collectors.ccxt_trades import trade_of
from collectors.gaps import Range
from collectors.trades import (
    Numbering,
    Numbers,
    candles_of,
    impossible,
    missing_numbers,
    order,
    whole_opens,
)
from domain.market import Instrument, Timeframe
from domain.trades import MadeOf, Side, Trade

BTC = Instrument("kraken", "BTC/USDT")
PLACES = 8  # decimals of the recorded amounts; recorded volumes are sums of floats
KRAKEN = ("kraken_BTC-USDT_trades_2023-11", "kraken_BTC-USDT")
BINANCE = ("binance_XRP-ETH_trades_2019-10", "freqtrade_XRP-ETH")
TRADE = Trade(
    instrument=BTC, trade_id="1", time_ms=60_000, price=10.0, amount=0.1, side=Side.BUY, number=1
)


def trade(number: int, time_ms: int, price: float = 10.0, amount: float = 0.1) -> Trade:
    return replace(
        TRADE,
        trade_id=str(number),
        number=number,
        time_ms=time_ms,
        price=price,
        amount=amount,
    )


def recorded_trades(folder: Path, name: str) -> list[Trade]:
    path = folder / "trades" / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no recorded trades in {path.parent}")
    rows = pq.read_table(path, columns=["id", "timestamp", "price", "amount"]).to_pydict()
    return [trade(int(number), *rest) for number, *rest in zip(*rows.values(), strict=True)]


@pytest.mark.parametrize(
    ("trades", "candles", "timeframe", "count"),
    [
        (*KRAKEN, Timeframe.M1, 5388),
        (*KRAKEN, Timeframe.M5, 1520),
        (*KRAKEN, Timeframe.H1, 129),
        (*BINANCE, Timeframe.M1, 2469),
        (*BINANCE, Timeframe.M5, 706),
    ],
)
def test_recorded_trades_rebuild_the_recorded_candles(
    trades: str, candles: str, timeframe: Timeframe, count: int, shared_data: Path
) -> None:
    path = shared_data / "ohlcv_misc" / f"{candles}_{timeframe}.parquet"
    told = recorded_trades(shared_data, trades)
    expected = [
        (*row[:-1], round(row[-1], PLACES))
        for row in zip(*pq.read_table(path).to_pydict().values(), strict=True)
    ]

    built = candles_of(told, timeframe)

    assert [(c.open_ms, c.open, c.high, c.low, c.close, c.volume) for c in built] == expected
    assert len(built) == count
    assert {c.made_of for c in built} == {MadeOf.TRADES}


def test_an_interval_without_a_trade_has_no_candle() -> None:
    built = candles_of([trade(1, 0), trade(2, 120_000)], Timeframe.M1)

    assert [candle.open_ms for candle in built] == [0, 120_000]


def test_amounts_are_added_as_the_exchange_adds_them() -> None:
    (candle,) = candles_of([trade(n, n) for n in range(3)], Timeframe.M1)

    assert candle.volume == 0.3  # 0.1 + 0.1 + 0.1 is more in floats


def test_trades_of_one_millisecond_are_in_the_order_of_their_numbers() -> None:
    (candle,) = candles_of([trade(n, 5, price=float(n)) for n in (10, 9, 11)], Timeframe.M1)

    assert (candle.open, candle.close) == (9.0, 11.0)


@pytest.mark.parametrize(("price", "amount"), [(0.0, 1.0), (float("nan"), 1.0), (1.0, -1.0)])
def test_a_trade_that_cannot_be_is_named(price: float, amount: float) -> None:
    assert impossible(trade(1, 0, price, amount)) is not None
    assert impossible(trade(1, 0)) is None


@pytest.mark.parametrize(
    ("altered", "said"),
    [
        ({"id": "9" * 5000}, "an id of 5000 characters"),
        ({"id": ""}, "without an id"),
        ({"timestamp": 10**15}, "out of range"),
        ({"price": math.inf}, "price is not a number above zero"),
        ({"amount": None}, "amount is not a number above zero"),
    ],
)
def test_a_row_that_is_no_trade_is_refused(altered: dict[str, Any], said: str) -> None:
    row = {"id": "9" * 20, "timestamp": 60_000, "price": 10.0, "amount": 0.1, "side": "buy"}

    assert order(trade_of(BTC, row, 1.0, numbered=False))[1] == int("9" * 20)
    with pytest.raises(ValueError, match=said):
        trade_of(BTC, row | altered, 1.0, numbered=False)


def test_a_jump_of_the_numbers_is_told_once() -> None:
    numbering = Numbering()

    told = [numbering.follow(trade(number, 0)) for number in (7, 8, 8, 11, 9, 12)]

    assert told == [None, None, None, Numbers(9, 11), None, None]
    assert missing_numbers([trade(number, 0) for number in (12, 7, 8, 11)]) == [Numbers(9, 11)]


def test_the_numbers_of_aggregated_trades_at_binance_do_not_jump(shared_data: Path) -> None:
    assert missing_numbers(recorded_trades(shared_data, BINANCE[0])) == []


def test_the_ids_of_trades_at_kraken_are_no_sequence(shared_data: Path) -> None:
    """They jump, and the candles of the same days say nothing of trades in between."""
    jumps = missing_numbers(recorded_trades(shared_data, KRAKEN[0]))

    assert len(jumps) == 26


def test_a_candle_is_whole_where_its_interval_was_told() -> None:
    assert whole_opens(Range(1, 60_000), Timeframe.M1) == Range(60_000, 60_000)
    assert whole_opens(Range(60_000, 179_999), Timeframe.M1) == Range(60_000, 120_000)
