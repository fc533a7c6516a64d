"""Binance spot's wire format: payloads of REST and of the socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from collectors.simulated.trades import MadeTrade
from domain.events import Floats, Ints
from domain.market import Timeframe

Json = dict[str, Any]

DAY_MS = 86_400_000
LOT_DECIMALS = 5
MIN_NOTIONAL = 5.0  # quote currency
UNKNOWN_SYMBOL: Json = {"code": -1121, "msg": "Invalid symbol."}
UNKNOWN_INTERVAL: Json = {"code": -1120, "msg": "Invalid interval."}
TOO_MANY: Json = {"code": -1003, "msg": "Too many requests; please use the websocket."}
UNAVAILABLE: Json = {"code": -1001, "msg": "Internal error; unable to process your request."}
_NOT_RECORDED = "0.00000000"  # quote and taker volumes; files of candles do not have them


def market_id(symbol: str) -> str:
    """`BTC/USDT` as Binance writes it.

    >>> market_id("BTC/USDT")
    'BTCUSDT'
    """
    return symbol.partition(":")[0].replace("/", "")


def missing_parameter(name: str) -> Json:
    message = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    return {"code": -1102, "msg": message}


def exchange_info(symbols: Sequence[str], decimals: Ints, now_ms: int) -> Json:
    """Answer of `/api/v3/exchangeInfo`."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": 6000,
            }
        ],
        "exchangeFilters": [],
        "symbols": [
            _listing(symbol, int(places)) for symbol, places in zip(symbols, decimals, strict=True)
        ],
    }


def _listing(symbol: str, decimals: int) -> Json:
    base, _, quote = symbol.partition(":")[0].partition("/")
    tick, lot = _decimal(10.0**-decimals), _decimal(10.0**-LOT_DECIMALS)
    return {
        "symbol": market_id(symbol),
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": _decimal(1e9),
                "tickSize": tick,
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": lot,
                "maxQty": _decimal(1e9),
                "stepSize": lot,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": _decimal(MIN_NOTIONAL),
                "applyMinToMarket": True,
                "maxNotional": _decimal(9e6),
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
    }


def klines(opens: Ints, rows: Floats, timeframe: Timeframe) -> list[list[Any]]:
    """Answer of `/api/v3/klines`; trade counts, quote and taker volumes are 0: not known."""
    return [
        _kline(open_ms, row, timeframe)
        for open_ms, row in zip(opens.tolist(), rows.tolist(), strict=True)
    ]


def _kline(open_ms: int, row: list[float], timeframe: Timeframe) -> list[Any]:
    open_, high, low, close, volume = row
    return [
        open_ms,
        _decimal(open_),
        _decimal(high),
        _decimal(low),
        _decimal(close),
        _decimal(volume),
        open_ms + timeframe.ms - 1,
        _NOT_RECORDED,
        0,
        _NOT_RECORDED,
        _NOT_RECORDED,
        "0",
    ]


def kline_event(
    symbol_id: str, timeframe: Timeframe, open_ms: int, row: list[float], *, event_ms: int, x: bool
) -> bytes:
    """Frame of `<symbol>@kline_<timeframe>`; `x` says whether the candle has closed."""
    open_, high, low, close, volume = row
    return orjson.dumps(
        {
            "e": "kline",
            "E": event_ms,
            "s": symbol_id,
            "k": {
                "t": open_ms,
                "T": open_ms + timeframe.ms - 1,
                "s": symbol_id,
                "i": timeframe.value,
                "f": -1,
                "L": -1,
                "o": _decimal(open_),
                "c": _decimal(close),
                "h": _decimal(high),
                "l": _decimal(low),
                "v": _decimal(volume),
                "n": 0,
                "x": x,
                "q": _NOT_RECORDED,
                "V": _NOT_RECORDED,
                "Q": _NOT_RECORDED,
                "B": "0",
            },
        }
    )


def trade_event(symbol_id: str, trade: MadeTrade, *, event_ms: int) -> bytes:
    """Frame of `<symbol>@aggTrade`."""
    return orjson.dumps({"e": "aggTrade", "E": event_ms, "s": symbol_id, **agg_trade(trade)})


def agg_trade(trade: MadeTrade) -> Json:
    """A row of `/api/v3/aggTrades`."""
    return {
        "a": trade.number,
        "p": _decimal(trade.price),
        "q": f"{trade.amount:f}",
        "f": trade.number,
        "l": trade.number,
        "T": trade.time_ms,
        "m": trade.sold,
        "M": True,
    }


def wrapped(stream: str, event: bytes) -> bytes:
    """`event` as a combined stream sends it."""
    return b'{"stream":"%b","data":%b}' % (stream.encode(), event)


def _decimal(value: float) -> str:
    """Eight decimals as Binance has it, or all that a recorded number needs."""
    text = f"{value:.8f}"
    return text if float(text) == value else repr(value)
