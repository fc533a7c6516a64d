"""Recorded answers of REST, served on loopback to the real client of ccxt: candle for candle.

Where nothing was recorded the answer is written from the exchange's documentation and says so.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from backend.unserved import lines
from collectors.backfill import Backfill, History, Rejected
from collectors.budget import Budget
from collectors.ccxt_exchange import CcxtExchange
from collectors.pacing import Pace
from domain.errors import ExchangeUnavailableError
from domain.events import Candle
from domain.market import Instrument, Timeframe, from_ms
from tests.doubles import ManualClock
from tests.served_payloads import Answer, served

LATER_MS = 1_800_000_000_000  # after every recording
DOCUMENTED = "documented"  # not recorded


@dataclass(frozen=True)
class Case:
    """One exchange's answers by path: recorded files by name, what is documented as it is."""

    symbol: str
    timeframe: Timeframe
    candles: str
    origin: str
    answers: Mapping[str, Any]
    rows: str  # where in the answer the rows are, dot by dot
    columns: str  # of a row, in its order


def millis(text: str | int) -> int:
    return int(text) if int(text) > 10**11 else 1000 * int(text)


OKX_TIME = {"code": "0", "msg": "", "data": [{"ts": str(LATER_MS)}]}
BYBIT_NONE = {"retCode": 0, "retMsg": "OK", "result": {"list": [], "nextPageCursor": ""}}
BYBIT_LINEAR = {  # documented
    "retCode": 0,
    "retMsg": "OK",
    "result": {
        "category": "linear",
        "list": [
            {
                "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading",
                "baseCoin": "BTC", "quoteCoin": "USDT", "settleCoin": "USDT",
                "launchTime": "1585526400000", "deliveryTime": "0", "priceScale": "2",
                "priceFilter": {"minPrice": "0.1", "maxPrice": "1e6", "tickSize": "0.10"},
                "lotSizeFilter": {"maxOrderQty": "100", "minOrderQty": "0.001", "qtyStep": "0.001"},
                "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "1"},
            }
        ],
        "nextPageCursor": "",
    },
}  # fmt: skip

CASES: dict[str, Case] = {
    "binance": Case(
        "BTC/USDT",
        Timeframe.H1,
        "klines",
        "binance_spot_klines_BTCUSDT_1h_2023-01_2023-05.json",
        {
            "exchangeInfo": "binance_spot_exchangeInfo_2024-09-08.json",
            "api/v3/time": {"serverTime": LATER_MS},
        },
        "",
        "tohlcv",
    ),
    "kraken": Case(
        "BTC/USDT",
        Timeframe.M1,
        "OHLC",
        "kraken_OHLC_XBTUSDT_1m_2025-11-10.json",
        {
            "AssetPairs": "kraken_AssetPairs_2021-04-17.json",
            "Assets": {"error": [], "result": {}},
            "public/Time": {"error": [], "result": {"unixtime": LATER_MS // 1000}},
        },
        "result.XBTUSDT",
        "tohlc-v",
    ),
    "okx": Case(
        "BTC/USD",
        Timeframe.M1,
        "candles",
        "okx_candles.json",
        {
            "public/instruments?instType=SPOT": "okx_instruments_spot.json",
            "public/instruments": {"code": "0", "msg": "", "data": []},
            "public/time": OKX_TIME,
        },
        "data",
        "tohlcv",
    ),
    "bybit": Case(
        "BTC/USDT:USDT",
        Timeframe.M1,
        "market/kline",
        DOCUMENTED,  # the recorded row does not open on a minute
        {
            "market/time": {
                "retCode": 0,
                "result": {"timeSecond": "1800000000", "timeNano": "1800000000000000000"},
                "time": LATER_MS,
            },
            "instruments-info": BYBIT_NONE,
            "instruments-info?category=linear": BYBIT_LINEAR,
            "market/kline": {
                "retCode": 0,
                "retMsg": "OK",
                "result": {
                    "category": "linear",
                    "symbol": "BTCUSDT",
                    "list": [
                        ["1709891700000", "27455", "27470", "27450", "27465", "12.5", "343312"],
                        ["1709891640000", "27450", "27460", "27440", "27455", "123.45", "3390000"],
                    ],
                },
            },
        },
        "result.list",
        "tohlcv",
    ),
    "coinbase": Case(
        "BTC/USD",
        Timeframe.H1,
        "candles",
        "coinbase_candles.json",
        {
            "market/products": "coinbase_products.json",
            "currencies": {"data": []},
            "currencies/crypto": {"data": []},
            "exchange-rates": {"data": {"currency": "USD", "rates": {}}},
            "v2/time": {"data": {"iso": "2027-01-15T08:00:00Z", "epoch": LATER_MS // 1000}},
        },
        "candles",
        "",  # rows are objects
    ),
    "coinbaseexchange": Case(
        "BTC/USD",
        Timeframe.H1,
        "candles",
        DOCUMENTED,
        {
            "/products": "coinbaseexchange_products_2021-04-17.json",
            "/currencies": [],
            "/time": {"iso": "2027-01-15T08:00:00.000Z", "epoch": LATER_MS / 1000},
            "candles": [
                [1712192400, 66055.14, 66331.99, 66312.4, 66181.6, 355.82896243],
                [1712188800, 65857.35, 66387.77, 65984.18, 66314.59, 358.74851052],
            ],
        },
        "",
        "tlhocv",
    ),
}


@asynccontextmanager
async def connected(
    exchange_id: str, folder: Path, instead: Answer | None = None
) -> AsyncIterator[tuple[CcxtExchange, Case, Any]]:
    """The exchange on its recorded answers, and its answer of candles."""
    case = CASES[exchange_id]
    given = dict(case.answers)
    given.setdefault(case.candles, case.origin)
    answers = {
        path: Answer((folder / "rest" / answer).read_bytes() if isinstance(answer, str) else answer)
        for path, answer in given.items()
    }
    told = answers[case.candles].body
    answers[case.candles] = instead or answers[case.candles]
    async with served(answers) as server:
        exchange = CcxtExchange(exchange_id, rest_url=server.rest_url, rate_limited=False)
        try:
            yield exchange, case, orjson.loads(told) if isinstance(told, bytes) else told
        finally:
            await exchange.close()


def rows_of(case: Case, told: Any) -> dict[int, dict[str, float]]:
    for step in filter(None, case.rows.split(".")):
        told = told[step]
    names = {"start": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    found = {}
    for row in told:
        named = (
            {names[key]: value for key, value in row.items()}
            if isinstance(row, dict)
            else dict(zip(case.columns, row, strict=False))
        )
        opened = millis(named["t"])
        found[opened] = {key: float(named[key]) for key in "ohlcv"}
    return found


def spelled(one: Candle) -> dict[str, float]:
    values = (one.open, one.high, one.low, one.close, one.volume)
    return dict(zip("ohlcv", values, strict=True))


async def fetched(exchange: CcxtExchange, case: Case, rows: dict[int, Any]) -> list[Candle]:
    first, last = min(rows), max(rows)
    return await exchange.fetch_candles(
        Instrument(exchange.id, case.symbol),
        case.timeframe,
        since=from_ms(first),
        until=from_ms(last + case.timeframe.ms),
    )


@pytest.mark.parametrize("exchange_id", sorted(CASES))
async def test_each_row_is_a_candle(exchange_id: str, shared_data: Path) -> None:
    async with connected(exchange_id, shared_data) as (exchange, case, told):
        rows = rows_of(case, told)

        candles = await fetched(exchange, case, rows)

    assert {one.open_ms: spelled(one) for one in candles} == rows
    assert [one.open_ms for one in candles] == sorted(rows)
    assert exchange.unread.count == 0


async def test_a_row_that_cannot_be_read_is_set_aside_and_the_others_are_kept(
    shared_data: Path,
) -> None:
    poisoned = json.loads(
        (shared_data / "rest" / "kraken_OHLC_XBTUSDT_1m_2025-11-10.json").read_bytes()
    )
    rows = poisoned["result"]["XBTUSDT"]
    whole = rows_of(CASES["kraken"], poisoned)
    gone = [millis(rows[3][0]), millis(rows[5][0]), millis(rows[7][0])]
    rows[3], rows[5] = {"message": "busy"}, None
    rows[7] = ["soon", *rows[7][1:]]
    async with connected("kraken", shared_data, instead=Answer(poisoned)) as (exchange, case, _):
        candles = await fetched(exchange, case, whole)
        taken = await exchange.unread.take()

    assert [one.open_ms for one in candles] == sorted(set(whole) - set(gone))
    # Each of the two pages is answered with all of the recording.
    assert [orjson.loads(one.raw) for one in taken] == 2 * [rows[3], rows[5], rows[7]]


@pytest.mark.parametrize(
    "body", ["<html>busy</html>", '"soon"', "[[1", "", '{"error":[],"result":{"XBTUSDT":[[1],1]}']
)
async def test_an_answer_that_cannot_be_read_is_no_empty_history(
    body: str, shared_data: Path
) -> None:
    async with connected("kraken", shared_data, instead=Answer(body)) as (exchange, case, told):
        with pytest.raises(ExchangeUnavailableError):
            await fetched(exchange, case, rows_of(case, told))
        taken = await exchange.unread.take()

    assert len(taken) == 1


class Nothing:
    """A store without candles."""

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[int]:
        del instrument, timeframe, since, until
        return []

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> list[Candle]:
        del instrument, timeframe, count
        return []


async def test_kraken_serves_its_newest_candles_and_the_rest_is_named(shared_data: Path) -> None:
    got: list[Candle] = []

    async def keep(good: Sequence[Candle], bad: Sequence[Rejected]) -> None:
        assert not bad
        got.extend(good)

    async with connected("kraken", shared_data) as (exchange, case, told):
        rows = rows_of(case, told)
        end_ms = max(rows) + case.timeframe.ms
        clock = ManualClock(from_ms(end_ms))
        pace = Pace(clock=clock, wall=clock, random=np.random.default_rng(1))
        history = History(exchange, check=lambda _candle: None, budget=Budget(clock))
        unserved = await Backfill(history, stored=Nothing(), out=keep, pace=pace).run(
            [Instrument("kraken", case.symbol)],
            [case.timeframe],
            bars=2_000,
            progress=lambda _done, _total: None,
        )

    assert {one.open_ms for one in got} == set(rows)
    ((_, _, span),) = [(one.instrument, one.timeframe, one.span) for one in unserved]
    assert span == (end_ms - 2_000 * case.timeframe.ms, min(rows))
    assert list(lines(unserved, bars=2_000)) == [
        f"kraken serves {len(rows)} of the 2000 candles of 1m asked for (BTC/USDT): the "
        f"{2_000 - len(rows)} before them are unfillable, and models train on those and on "
        "what comes"
    ]
